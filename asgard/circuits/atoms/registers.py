"""State atoms, whose meaning a calculus gives, and the coordinate.

State atoms have no value rule of their own. Each adds its `delay` to that of a cycle along its
dimension. A loop can run along a dimension if no cycle in it has a negative delay.
"""

import math
from typing import TYPE_CHECKING, Any, ClassVar, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...errors import CircuitError, DegreeError, DimensionError
from ...jaxprs.concrete import is_concrete
from ..circuit import Atom, Circuit
from ..constraints import Constraint, Number
from ..fields import as_number, check_count, check_name, number_text
from ..stream import Stream, horner
from .functions import Function


class State(Atom):
    """An atom whose meaning along `dim` a calculus gives."""

    if TYPE_CHECKING:  # type checkers take abstract variables for fields of the dataclass
        dim = cast(Any, "")
    else:
        dim: eqx.AbstractVar[str]
    delay: ClassVar[int]
    n_in = 1
    n_out = 1

    def __check_init__(self):
        check_name(type(self).__name__, "dimension", self.dim)

    def __call__(self, *values: Any) -> Any:
        raise CircuitError(f"{self} has no value at a point: a calculus gives it its meaning")


class Register(State):
    """The integral along `dim` under `Real`, the running sum under `Discrete`.

    `initial` is the value at the start: a number or array, or a `Stream` over other dimensions.
    """

    dim: str = eqx.field(static=True)
    initial: Number | Stream = eqx.field(converter=as_number, default=0.0)
    delay = 1

    def text(self) -> str:
        return _with_initial("register", self.dim, self.initial)


class Deregister(State):
    """The inverse of a register: the derivative along `dim`, the forward difference.

    Under `Real` a jump has no part in it: that of a piecewise constant wire, such as held samples,
    is 0.
    """

    dim: str = eqx.field(static=True)
    delay = -1

    def text(self) -> str:
        return f"deregister({self.dim})"


class StochasticRegister(State):
    """The integral against the Wiener process named `noise`, along `dim`."""

    dim: str = eqx.field(static=True)
    noise: str = eqx.field(static=True)
    initial: Number | Stream = eqx.field(converter=as_number, default=0.0)
    delay = 1

    def __check_init__(self):
        check_name("StochasticRegister", "noise", self.noise)

    def text(self) -> str:
        return _with_initial("stochastic_register", f"{self.dim}, {self.noise}", self.initial)


def _as_size(value: Any) -> Any:
    """A function as one whose arrays are leaves; a number or array as it stands."""
    return Function(value, 1, 1) if callable(value) else as_number(value)


class JumpRegister(State):
    """The integral along `dim` against the compound Poisson process named `noise`.

    Each jump adds its size times the first input's value just before the jump. Each component of a
    wire jumps by itself. `rate` and `size` are parameters of the circuit. The number of jumps is
    drawn, so runs have no derivative with respect to the rate.

    **Arguments:**

    - `rate`: the expected number of jumps in a unit of time, at least 0. None takes the rate from a
      second input wire, so it may depend on the state; a path where it is negative ends.
    - `size`: the size of a jump, a number; or a function of a standard normal variable, such as
      `lambda z: jnp.expm1(mean + deviation * z)` for the jumps of Merton's model.
    - `most`: the largest number of jumps in one step. A path with more in a step ends there.
    """

    dim: str = eqx.field(static=True)
    rate: Number | None = eqx.field(
        converter=lambda value: None if value is None else as_number(value)
    )
    size: Number | Function = eqx.field(converter=_as_size)
    noise: str = eqx.field(static=True)
    initial: Number | Stream = eqx.field(converter=as_number, default=0.0)
    most: int = eqx.field(static=True, default=4)
    delay = 1

    def __check_init__(self):
        check_name("JumpRegister", "noise", self.noise)
        check_count("JumpRegister", "most", self.most, least=1)
        rate = self.rate.value if isinstance(self.rate, Constraint) else self.rate
        if rate is not None and is_concrete(rate):
            known = np.asarray(rate)
            if not np.all(np.isfinite(known) & (np.real(known) >= 0)):
                raise CircuitError(f"JumpRegister: rate must be at least 0 and finite, not {rate}")

    @property
    def n_in(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return 2 if self.rate is None else 1


# The state atoms that integrate against a noise, which `noise="off"` leaves at their initial value.
NOISY = StochasticRegister | JumpRegister


def _as_history(value: Any) -> Any:
    """A function or a stream as one whose arrays are leaves; a number or array as it stands."""
    if isinstance(value, Stream):
        return Function(_Polynomial(value.coefficients, value.center, value.dims), 1, 1)
    return Function(value, 1, 1) if callable(value) else as_number(value)


class _Polynomial(eqx.Module):
    """A stream as a function of its one dimension."""

    coefficients: Any
    center: Any
    dims: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, t: Any) -> Any:
        return horner(jnp.moveaxis(self.coefficients, -1, 0), t - jnp.reshape(self.center, ()))


class Delay(State):
    """The value of a wire earlier along `dim`: x(t - by).

    Under `Discrete` it is by so many samples, without `by` by one. Under `Real` it is a transport
    delay: the history is that of the run itself, and delay differential equations follow. Under
    `Stochastic` it is by whole steps.

    **Arguments:**

    - `initial`: the history before the start: a number or array; or, where there is a `by`, a
      function of the coordinate, or a `Stream` along `dim`.
    - `by`: by how much, a number above 0. It has gradients under `Real`.

    **Raises:** `CircuitError` for a `by` that is no real number above 0, and for a history in time
    without one.

    ```python
    late = ag.Delay("t", 1.0, by=2.0) >> ag.Scalar(-1.0)
    (late >> ag.Register("t", 1.0) >> ag.Split()).trace()  # x' = -x(t - 2)
    ```
    """

    dim: str = eqx.field(static=True)
    initial: Number | Function = eqx.field(converter=_as_history, default=0.0)
    by: Number | None = eqx.field(
        converter=lambda value: None if value is None else as_number(value), default=None
    )
    delay = 1

    def __check_init__(self):
        history = self.initial if isinstance(self.initial, Function) else None
        if history is not None and self.by is None:
            raise CircuitError(
                f"Delay: a history along {self.dim} is for a delay by a time: give it, by=..."
            )
        polynomial = None if history is None else history.fn
        if isinstance(polynomial, _Polynomial) and polynomial.dims != (self.dim,):
            raise DimensionError(
                f"Delay: the history is a stream along {self.dim} alone, not along "
                f"{', '.join(polynomial.dims)}"
            )
        by = self.by.value if isinstance(self.by, Constraint) else self.by
        if by is None:
            return
        if jnp.shape(by) or jnp.iscomplexobj(by):
            raise CircuitError(f"Delay: by must be one real number, not {by!r}")
        if is_concrete(by) and not (np.isfinite(by) and by > 0):
            raise CircuitError(f"Delay: by must be above 0 and finite, not {float(by)}")

    def text(self) -> str:
        if self.by is None:
            return _with_initial("delay", self.dim, self.initial)
        initial = self.initial
        known = initial.text() if isinstance(initial, Function) else number_text(initial)
        return f"delay({self.dim}, {known}, {number_text(self.by)})"


class Coordinate(Atom):
    """The coordinate along `dim` itself. In a function under `@ag.circuit`, `Coordinate(dim)()`."""

    dim: str = eqx.field(static=True)
    n_in = 0
    n_out = 1

    def __check_init__(self):
        check_name("Coordinate", "dimension", self.dim)

    @property
    def coordinates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.dim,)

    def __call__(self, *coordinates: Any) -> Any:
        (coordinate,) = coordinates
        return coordinate

    def text(self) -> str:
        return f"coordinate({self.dim})"


class Substitution(Atom):
    """Composition of power series along `dim`: outer(inner(t)), for `series` and outside loops.

    `outer`, 0 -> 1, is expanded once along `dim`; `inner`, 1 -> 1, is fed the coordinate and must
    vanish at the centre.
    """

    outer: Circuit
    inner: Circuit
    dim: str = eqx.field(static=True)
    n_in = 0
    n_out = 1

    def __check_init__(self):
        check_name("Substitution", "dimension", self.dim)
        for role, circuit, degrees in (
            ("outer", self.outer, (0, 1)),
            ("inner", self.inner, (1, 1)),
        ):
            if not isinstance(circuit, Circuit):
                raise CircuitError(f"Substitution: {role} must be a circuit, not {circuit!r}")
            if (circuit.n_in, circuit.n_out) != degrees:
                raise DegreeError(
                    f"Substitution: {role} must be {degrees[0]} -> {degrees[1]}, but "
                    f"{circuit} is {circuit.n_in} -> {circuit.n_out}"
                )
        for part in self.outer.parts:
            if isinstance(part, TaylorPolynomial) and part.dim != self.dim:
                raise DimensionError(
                    f"Substitution along {self.dim}: {part} is a polynomial in {part.dim}"
                )

    def __call__(self) -> Any:
        raise CircuitError("a Substitution has no value at a point: it composes power series")

    def text(self) -> str:
        return f"compose({self.outer}, {self.inner}, {self.dim})"


class TaylorPolynomial(Atom):
    """The Taylor polynomial of `exp`, `sin` or `cos` along `dim` about 0, of `degree`."""

    function: str = eqx.field(static=True)
    degree: int = eqx.field(static=True)
    dim: str = eqx.field(static=True)
    n_in = 0
    n_out = 1
    functions: ClassVar[dict[str, tuple[int, ...]]] = {
        "exp": (1, 1, 1, 1),
        "sin": (0, 1, 0, -1),
        "cos": (1, 0, -1, 0),
    }

    def __check_init__(self):
        check_name("TaylorPolynomial", "dimension", self.dim)
        if self.function not in self.functions:
            raise CircuitError(
                f"TaylorPolynomial knows {', '.join(self.functions)}, not {self.function!r}"
            )
        if not isinstance(self.degree, int) or isinstance(self.degree, bool) or self.degree < 0:
            raise CircuitError(f"TaylorPolynomial: degree must be a count, not {self.degree!r}")

    @property
    def coordinates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.dim,)

    def __call__(self, *coordinates: Any) -> Any:
        (coordinate,) = coordinates
        cycle = self.functions[self.function]
        value = jnp.zeros_like(coordinate)
        for order in range(self.degree, -1, -1):
            value = value * coordinate + cycle[order % 4] / math.factorial(order)
        return value

    def text(self) -> str:
        return f"{self.function}({self.degree})"


def _with_initial(keyword: str, arguments: str, initial: Any) -> str:
    if isinstance(initial, Stream):
        return f"{keyword}({arguments}, <stream over {', '.join(initial.dims)}>)"
    number = number_text(initial)
    return (
        f"{keyword}({arguments})"
        if number in ("0.0", "-0.0")
        else f"{keyword}({arguments}, {number})"
    )
