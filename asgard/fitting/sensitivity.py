"""Derivatives of what a circuit gives in its numbers, and what data tell of these."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..circuits.circuit import Circuit
from ..circuits.parameters import parameters
from ..errors import CircuitError, IdentifiabilityWarning
from ..jaxprs.concrete import is_concrete
from ..jaxprs.makeup import Compiled, Made
from .fit import arrays
from .free import Chosen, Trainable, chosen
from .least_squares import flat


def sensitivities(
    circuit: Circuit,
    fn: Callable[..., Any],
    *,
    args: tuple[Any, ...] = (),
    trainable: Trainable = None,
) -> dict[str, Any]:
    """The derivatives of what a circuit gives in its numbers.

    In forward mode where there are no more numbers than values of `fn`, else in reverse mode: of
    the two the one that needs fewer passes. Compiled and kept as `fit` is.

    **Arguments:** `circuit`, `args` and `trainable` are those of `fit`; `fn(circuit, *args)`
    returns an array or a pytree of arrays.

    **Returns:** for each number by its name, what `fn` returns, with arrays `[*value, *number]` of
    derivatives; in the numbers themselves, also of those under constraints.

    **Raises:** `CircuitError` for what is wrong beforehand.

    ```python
    ag.sensitivities(circuit, lambda circuit: ag.simulate(circuit, ts).output)["scalar.factor"]
    ```
    """
    moved = chosen(circuit, trainable)
    if not callable(fn):
        raise CircuitError(f"sensitivities are those of a function of the circuit, not {fn!r}")
    question = _Question(Made(fn), moved)
    found = _compiled(question, circuit, arrays(args))
    # JAX hands dictionaries back in the order of their names.
    return {name: found[name] for name in question.numbers(circuit)}


class Uncertainty(eqx.Module):
    """What data tell of the numbers of a circuit at a least-squares optimum.

    - `names`: the numbers, `name[place]` for each entry of an array.
    - `values`, `standard_errors`: one for each of them.
    - `covariance`, `correlation`: `[numbers, numbers]`.
    - `condition`: the condition number of the Jacobian whose columns are scaled to length 1: how
      much the numbers can stand in for one another. 1 is best.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    values: Float[Array, "*batch numbers"]
    standard_errors: Float[Array, "*batch numbers"]
    covariance: Float[Array, "*batch numbers numbers"]
    correlation: Float[Array, "*batch numbers numbers"]
    condition: Float[Array, "*batch"]

    def __getitem__(self, name: str) -> Array:
        """The standard error of a number."""
        if name not in self.names:
            raise KeyError(f"no number is named {name!r}; there are {', '.join(self.names)}")
        return self.standard_errors[..., self.names.index(name)]


def uncertainty(
    circuit: Circuit,
    residuals: Callable[..., Any],
    *,
    args: tuple[Any, ...] = (),
    trainable: Trainable = None,
) -> Uncertainty:
    """Standard errors and correlations of a circuit's numbers at a least-squares optimum.

    From the Jacobian J of the residuals r, by s² (JᵀJ)⁻¹ with s² = |r|² / (residuals - numbers):
    exact for a model that is linear in its numbers, and otherwise the first order in the size of
    residuals that are independent and of one variance (Seber and Wild, *Nonlinear Regression*,
    1989, section 2.1).

    **Arguments:** those of `fit_residuals`, with the circuit that it found.

    **Returns:** an `Uncertainty`, in the numbers themselves, also of those under constraints.

    **Raises:** `CircuitError` where there are not more residuals than numbers. Warns by
    `IdentifiabilityWarning` where the residuals hardly tell numbers apart, with their names; not
    under a trace.

    ```python
    ag.uncertainty(found.circuit, residuals, args=(ts, data)).standard_errors
    ```
    """
    moved = chosen(circuit, trainable)
    if not callable(residuals):
        raise CircuitError(f"residuals are a function of the circuit, not {residuals!r}")
    found, weakest = _judged(_Question(Made(residuals), moved), circuit, arrays(args))
    if is_concrete(found.condition):
        _warn(found, weakest)
    return found


@dataclasses.dataclass(frozen=True)
class _Question:
    """What an answer compiles by."""

    fn: Made
    moved: Chosen

    def numbers(self, circuit: Circuit) -> dict[str, Array]:
        """The numbers asked about, by name."""
        pairs = zip(parameters(circuit).items(), self.moved, strict=True)
        return {name: value for (name, value), move in pairs if move}

    def answer(self, circuit: Circuit, fn: Callable[[Circuit], Any]) -> tuple[Any, dict[str, Any]]:
        """What a function of the circuit gives, and its derivatives by name."""
        numbers = self.numbers(circuit)

        def of(numbers: dict[str, Array]) -> tuple[Any, Any]:
            value = fn(_with(circuit, numbers))
            return value, value

        given = jax.tree.leaves(jax.eval_shape(of, numbers)[0])
        if not given or not all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in given):
            raise CircuitError(
                "what has derivatives are arrays of floating-point numbers: return such"
            )
        if any(map(jnp.iscomplexobj, numbers.values())):
            raise CircuitError("sensitivities are in real numbers; fix those that are complex")
        values = sum(leaf.size for leaf in given)
        count = sum(number.size for number in numbers.values())
        mode = (
            jax.jacfwd
            if count <= values
            or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in given)
            else jax.jacrev
        )
        slopes, value = mode(of, has_aux=True)(numbers)
        names = jax.tree.structure(numbers)
        return value, jax.tree.transpose(jax.tree.structure(value), names, slopes)


def _with(circuit: Circuit, numbers: dict[str, Array]) -> Circuit:
    """The circuit with other numbers, whatever their bounds."""
    leaves, structure = jax.tree.flatten(circuit)
    names = parameters(circuit)
    placed = [numbers.get(name, leaf) for name, leaf in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(structure, placed)


def _sensitivities(question: _Question, circuit: Circuit, args: tuple[Any, ...]) -> dict[str, Any]:
    return question.answer(circuit, lambda circuit: question.fn.value(circuit, *args))[1]


_compiled = Compiled(_sensitivities)


def _judge(
    question: _Question, circuit: Circuit, args: tuple[Any, ...]
) -> tuple[Uncertainty, Array]:
    """The uncertainty, and the direction of scaled numbers of which the residuals tell least."""

    def of(circuit: Circuit) -> Array:
        return flat(question.fn.value(circuit, *args))

    residuals, slopes = question.answer(circuit, of)
    numbers = question.numbers(circuit)
    jacobian = jnp.concatenate(
        [slopes[name].reshape(residuals.size, -1) for name in numbers], axis=1
    )
    spare = residuals.size - jacobian.shape[1]
    if spare <= 0:
        raise CircuitError(
            f"{residuals.size} residuals say nothing of the uncertainty of {jacobian.shape[1]} "
            "numbers: there must be more residuals than numbers"
        )
    lengths = jnp.linalg.norm(jacobian, axis=0)
    # A number that changes nothing has a column of zeros, the last singular values, and no part in
    # what is told of the others.
    told = lengths > 0
    scale = jnp.where(told, lengths, 1)
    _, singular, directions = jnp.linalg.svd(jacobian / scale, full_matrices=False)
    blind = jnp.arange(told.size) >= jnp.sum(told)
    roots = directions.T / jnp.where(blind, jnp.inf, singular) / scale[:, None]
    inverse = jnp.where(told & told[:, None], roots @ roots.T, jnp.nan)
    inverse = jnp.where(jnp.diag(~told), jnp.inf, inverse)
    spread = jnp.sqrt(jnp.diagonal(inverse))
    variance = jnp.sum(residuals**2) / spare
    found = Uncertainty(
        names=_entries(numbers),
        values=jnp.concatenate([jnp.ravel(value) for value in numbers.values()]),
        standard_errors=jnp.where(told, jnp.sqrt(variance) * spread, jnp.inf),
        covariance=jnp.where(jnp.diag(~told), jnp.inf, variance * inverse),
        correlation=inverse / jnp.outer(spread, spread),
        condition=singular[0] / singular[-1],
    )
    return found, directions[-1]


_judged = Compiled(_judge)


def _entries(numbers: dict[str, Array]) -> tuple[str, ...]:
    """A name for each entry of each number."""
    return tuple(
        name if value.ndim == 0 else f"{name}{[*place]}"
        for name, value in numbers.items()
        for place in np.ndindex(value.shape)
    )


def _warn(found: Uncertainty, weakest: Array) -> None:
    """Says which numbers the residuals hardly tell apart, where half of the digits are lost."""
    if bool(jnp.all(found.condition < 1 / jnp.sqrt(jnp.finfo(found.condition.dtype).eps))):
        return
    if found.condition.ndim:
        warnings.warn("some fits hardly tell their numbers apart", IdentifiabilityWarning, 3)
        return
    if bool(jnp.isnan(found.condition)):
        warnings.warn(
            "the residuals, or their derivatives, are not finite: nothing is known of the numbers",
            IdentifiabilityWarning,
            stacklevel=3,
        )
        return
    parts = np.abs(np.asarray(weakest))
    names = [
        name for name, part in zip(found.names, parts, strict=True) if part > 0.1 * parts.max()
    ]
    told = (
        f"hardly tell {', '.join(names)} apart"
        if names[1:]
        else f"say next to nothing of {names[0]}"
    )
    warnings.warn(
        f"the residuals {told} (condition number {float(found.condition):.2g}): standard errors "
        "mean little there; fix some of these numbers (trainable, Fixed), or take data that tell "
        "more of them",
        IdentifiabilityWarning,
        stacklevel=3,
    )
