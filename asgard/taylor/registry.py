"""How the series of a JAX primitive is said, and the registry that the lifting of programs reads.

A rule is *online*: it gives coefficient n of the outputs from coefficients 0 to n of the inputs and
0 to n - 1 of the outputs. So a loop of equations is solved order by order, at a cost of O(N^2).
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from ..errors import CircuitError
from ..jaxprs.own_functions import check_takes
from .rule import Application, Rule, Step, bilinear, linear
from .series import Product


class Kind(abc.ABC):
    """One way to say the series of a primitive."""

    @abc.abstractmethod
    def meaning(self, application: Application) -> "Meaning | None":
        """What it says of one equation; None where order 0 holds for the whole series."""


@dataclasses.dataclass(frozen=True)
class Linear(Kind):
    """Linear in operands, given by index (None for all); `otherwise` holds where others are series.

    Operands of whole numbers or truth values, such as indices, steer and have no series.
    """

    operands: tuple[int, ...] | None = None
    otherwise: Kind | None = None

    def __post_init__(self):
        given = self.operands
        if given is None or (isinstance(given, tuple) and all(isinstance(i, int) for i in given)):
            return
        raise CircuitError(f"Linear: operands must be a tuple of indices, as (0,), not {given!r}")

    def meaning(self, application: Application) -> "Meaning | None":
        every = range(len(application.carried))
        beyond = set(self.operands or ()).difference(every)
        if beyond:
            count, name = len(every), application.equation.name
            raise CircuitError(
                f"the rule of {name!r}: Linear names the operand of index {min(beyond)}, but the "
                f"primitive has {count} operand{'s'[: count != 1]}; indices count from 0"
            )
        selected = every if self.operands is None else self.operands
        if application.series_operands <= set(selected):
            return linear(application, selected)
        if self.otherwise is None:
            raise no_rule(application)
        return self.otherwise.meaning(application)


@dataclasses.dataclass(frozen=True)
class Bilinear(Kind):
    """A product of two operands: `product` makes it from the primitive's parameters."""

    product: Callable[[dict[str, Any]], Product]

    def meaning(self, application: Application) -> "Meaning | None":
        _check_takes(application, "product", self.product, "the primitive's parameters")
        count, name = len(application.carried), application.equation.name
        if count != 2:
            raise CircuitError(
                f"the rule of {name!r}: Bilinear is a product of two operands, but the primitive "
                f"has {count}"
            )
        if len(application.series_operands) == 1:
            return linear(application, sorted(application.series_operands))
        return bilinear(application.equation, self.product(application.equation.params))


@dataclasses.dataclass(frozen=True)
class Frozen(Kind):
    """Piecewise constant: the value at order 0 holds for the whole series.

    `complex` is the kind for complex operands; None refuses them.
    """

    complex: Kind | None = None

    def meaning(self, application: Application) -> "Meaning | None":
        if not application.is_complex:
            return None
        if self.complex is None:
            raise _real_only(application)
        return self.complex.meaning(application)


@dataclasses.dataclass(frozen=True)
class Rewrite(Kind):
    """The same function in other JAX functions: `function(*operands, **params)`.

    `real_only` refuses complex operands.
    """

    function: Callable[..., Any]
    real_only: bool = False

    def meaning(self, application: Application) -> "Meaning | None":
        if self.real_only and application.is_complex:
            raise _real_only(application)
        operands = [f"operand {index + 1}" for index in range(len(application.carried))]
        params = {} if application.equation.function else application.equation.params
        _check_takes(application, "function", self.function, *operands, **params)
        if application.equation.function:
            return self
        return Rewrite(functools.partial(self.function, **application.equation.params))


@dataclasses.dataclass(frozen=True)
class Derivative(Kind):
    """The derivative by the last operand, `function(u, *outputs)`, one for each output.

    It may use the outputs: tan' = 1 + tan^2 is `Derivative(lambda u, tan: 1 + tan * tan)`. The
    engine integrates f'(u) u'.
    """

    function: Callable[..., Any]

    def meaning(self, application: Application) -> "Meaning | None":
        if application.series_operands != {len(application.carried) - 1}:
            raise no_rule(application)
        outputs = [f"output {index + 1}" for index in range(len(application.outputs))]
        _check_takes(application, "function", self.function, "the last operand", *outputs)
        return self


@dataclasses.dataclass(frozen=True)
class Recurrence(Kind):
    """A recurrence of its own; `start` and `step` are those of a `Rule`.

    `twin` names the function whose series is the first auxiliary one, as a sine's is the cosine.
    """

    start: Callable[..., Sequence[Any]]
    step: Step
    twin: str | None = None

    def meaning(self, application: Application) -> "Meaning | None":
        operands = [f"operand {index + 1}" for index in range(len(application.carried))]
        _check_takes(application, "start", self.start, *operands)
        _check_takes(application, "step", self.step, "the order", "operands", "series")
        return Rule(self.start, self.step)


@dataclasses.dataclass(frozen=True)
class Built(Kind):
    """A rule, a `Rewrite` or a `Derivative` made for the equation at hand.

    `real_only` refuses complex operands.
    """

    make: Callable[[Application], "Meaning"]
    real_only: bool = False

    def meaning(self, application: Application) -> "Meaning | None":
        if self.real_only and application.is_complex:
            raise _real_only(application)
        _check_takes(application, "make", self.make, "the application")
        found = self.make(application)
        if not isinstance(found, Meaning):
            raise CircuitError(
                f"the rule of {application.equation.name!r}: make must return a Rule, a Rewrite or "
                f"a Derivative, not {found!r:.60}"
            )
        return found


@dataclasses.dataclass(frozen=True)
class Refused(Kind):
    """No series, for a reason that the error gives."""

    reason: str

    def meaning(self, application: Application) -> "Meaning | None":
        raise CircuitError(self.reason)


Meaning = Rule | Rewrite | Derivative

_kinds: dict[str, Kind] = {}


def add_rule(name: str, kind: Kind) -> None:
    """Says what the series of a primitive is, by the primitive's name.

    **Arguments:**

    - `name`: the name of the primitive, as it stands in a jaxpr.
    - `kind`: a `Linear`, `Bilinear`, `Frozen`, `Rewrite`, `Derivative`, `Recurrence`, `Built` or
      `Refused`.

    A later registration of a name takes the place of an earlier one, in programs traced from then
    on.

    **Raises:** `CircuitError` where `name` is no string, or `kind` none of these.

    ```python
    from asgard.taylor import rules
    rules.add_rule("my_gaussian", rules.Derivative(lambda u, f: -2 * u * f))
    ```
    """
    if not isinstance(name, str):
        raise CircuitError(f"a rule is for the name of a primitive, a string, not {name!r}")
    if not isinstance(kind, Kind):
        raise CircuitError(f"the rule of {name!r} must be one of the kinds of rules, not {kind!r}")
    _kinds[name] = kind


def kind_of(name: str) -> Kind | None:
    """The kind of rule that a primitive has, if any."""
    return _kinds.get(name)


def find(application: Application) -> Meaning | None:
    """What the series of an equation is; None where order 0 holds for the whole series."""
    inexact = any(jnp.issubdtype(aval.dtype, jnp.inexact) for aval in application.outputs)
    if not (inexact and any(application.carried)):
        return None
    kind = kind_of(application.equation.name)
    if kind is None:
        raise no_rule(application)
    return kind.meaning(application)


def no_rule(application: Application) -> CircuitError:
    """The error for an equation without a rule; it says which operands are series, if not all."""
    carried = application.carried
    numbers = ", ".join(str(index + 1) for index in sorted(application.series_operands))
    where = "" if all(carried) else f" where operand {numbers} of {len(carried)} is a series"
    return CircuitError(
        f"the JAX primitive {application.equation.name!r} has no series rule{where}, so a function "
        "that uses it has no Taylor series; say it with other jnp functions, or add a rule for it "
        "with asgard.taylor.rules.add_rule, as asgard/taylor/rules/table.py does"
    )


def _check_takes(
    application: Application, role: str, fn: Any, *arguments: str, **params: Any
) -> None:
    """Raises `CircuitError` where a rule's function does not take what it will be called with."""
    check_takes(f"the rule of {application.equation.name!r}: {role}", fn, *arguments, **params)


def _real_only(application: Application) -> CircuitError:
    name = application.equation.name
    return CircuitError(f"{name!r} of a complex function has no power series")
