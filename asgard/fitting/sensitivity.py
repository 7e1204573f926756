"""Derivatives in a circuit's numbers, and how well data determine these numbers."""

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
from ..circuits.pictured import picture
from ..errors import CircuitError, IdentifiabilityWarning
from ..jaxprs.concrete import is_concrete
from ..jaxprs.settings import callers_promotion
from .arguments import as_arrays, check_function
from .compiled import Compiled
from .free import Trainable, Trained, trained
from .least_squares import as_vector


def sensitivities(
    circuit: Circuit,
    fn: Callable[..., Any],
    *,
    args: tuple[Any, ...] = (),
    trainable: Trainable = None,
) -> dict[str, Any]:
    """The derivatives of a function of a circuit in the circuit's numbers.

    Uses forward mode if there are no more numbers than values of `fn`, and reverse mode otherwise,
    so that it takes few passes. Compiled and kept as `fit` is.

    **Arguments:** `circuit`, `args` and `trainable` as in `fit`; `fn(circuit, *args)` returns an
    array or a pytree of arrays.

    **Returns:** a dictionary by the numbers' names. Each entry has the structure of what `fn`
    returns, with arrays `[*value, *number]`. Derivatives are in the numbers themselves, also if
    they have constraints.

    **Raises:** `CircuitError` for a wrong argument.

    ```python
    ag.sensitivities(circuit, lambda circuit: ag.simulate(circuit, ts).output)["scalar.factor"]
    ```
    """
    moved = trained(circuit, trainable)
    data = as_arrays(args)
    check_function("fn", fn, data)
    model = _Model(fn, circuit, data, moved)
    found = _slopes(model)
    # JAX returns dictionaries in the order of their names.
    return {name: found[name] for name in model.numbers()}


class Uncertainty(eqx.Module):
    """How well data determine the numbers of a circuit, at a least-squares optimum.

    - `names`: the numbers' names, and `name[index]` for each entry of an array.
    - `values`, `standard_errors`: `[numbers]`.
    - `covariance`, `correlation`: `[numbers, numbers]`.
    - `condition`: the condition number of the Jacobian with columns scaled to length 1. 1 is best;
      it is large if some numbers can stand in for others.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    values: Float[Array, "*batch numbers"]
    standard_errors: Float[Array, "*batch numbers"]
    covariance: Float[Array, "*batch numbers numbers"]
    correlation: Float[Array, "*batch numbers numbers"]
    condition: Float[Array, "*batch"]

    def __repr__(self) -> str:
        return picture("uncertainty.text", self)

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

    The covariance is s² (JᵀJ)⁻¹, with the Jacobian J of the residuals r and
    s² = |r|² / (residuals - numbers). It assumes independent residuals of equal variance, is exact
    for a model that is linear in its numbers, and otherwise of first order in the residuals (Seber
    and Wild, *Nonlinear Regression*, 1989, section 2.1).

    **Arguments:** those of `fit_residuals`, with the circuit that it found.

    **Returns:** an `Uncertainty`, in the numbers themselves, also if they have constraints.

    **Raises:** `CircuitError` if there are not more residuals than numbers. Warns with
    `IdentifiabilityWarning` if the residuals hardly tell some numbers apart, and names them. There
    is no warning under a trace.

    ```python
    ag.uncertainty(found.circuit, residuals, args=(ts, data)).standard_errors
    ```
    """
    moved = trained(circuit, trainable)
    data = as_arrays(args)
    check_function("residuals", residuals, data)
    found, weakest = _judged(_Model(residuals, circuit, data, moved))
    if is_concrete(found.condition):
        _warn(found, weakest)
    return found


class _Model(eqx.Module):
    """A function of a circuit's numbers, and what it reads."""

    fn: Callable[..., Any]
    circuit: Circuit
    args: tuple[Any, ...]
    moved: Trained = eqx.field(static=True)

    def numbers(self) -> dict[str, Array]:
        """The numbers asked about, by name."""
        pairs = zip(parameters(self.circuit).items(), self.moved, strict=True)
        return {name: value for (name, value), move in pairs if move}

    def at(self, numbers: dict[str, Array]) -> Any:
        """The function's value at other numbers, whatever their bounds."""
        leaves, structure = jax.tree.flatten(self.circuit)
        names = parameters(self.circuit)
        placed = [numbers.get(name, leaf) for name, leaf in zip(names, leaves, strict=True)]
        with callers_promotion():
            return self.fn(jax.tree.unflatten(structure, placed), *self.args)

    def slopes(self) -> dict[str, Any]:
        """The derivatives of the function's value, by the numbers' names."""
        return _derived(self.at, self.numbers())[1]

    def judge(self) -> tuple[Uncertainty, Array]:
        """The uncertainty, and the combination of scaled numbers that the residuals tell least of,
        `[numbers]`."""
        numbers = self.numbers()
        residuals, slopes = _derived(lambda numbers: as_vector(self.at(numbers)), numbers)
        columns = [slopes[name].reshape(residuals.size, -1) for name in numbers]
        return _judgement(numbers, residuals, jnp.concatenate(columns, axis=1))


_slopes, _judged = Compiled(_Model.slopes), Compiled(_Model.judge)


def _derived(
    fn: Callable[[dict[str, Array]], Any], numbers: dict[str, Array]
) -> tuple[Any, dict[str, Any]]:
    """The value of a function of named numbers, and its derivatives by name."""
    given = jax.tree.leaves(jax.eval_shape(fn, numbers))
    if not given or not all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in given):
        raise CircuitError(
            "only arrays of floating-point numbers have derivatives: return such arrays"
        )
    if any(map(jnp.iscomplexobj, numbers.values())):
        raise CircuitError("sensitivities are in real numbers; fix those that are complex")
    values = sum(leaf.size for leaf in given)
    count = sum(number.size for number in numbers.values())
    real = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in given)
    mode = jax.jacrev if real and count > values else jax.jacfwd

    def twice(numbers: dict[str, Array]) -> tuple[Any, Any]:
        value = fn(numbers)
        return value, value

    slopes, value = mode(twice, has_aux=True)(numbers)
    by_name = jax.tree.structure(numbers)
    return value, jax.tree.transpose(jax.tree.structure(value), by_name, slopes)


def _judgement(
    numbers: dict[str, Array],
    residuals: Float[Array, " residuals"],
    jacobian: Float[Array, "residuals numbers"],
) -> tuple[Uncertainty, Array]:
    """The result of `_Model.judge`, from the residuals' Jacobian."""
    spare = residuals.size - jacobian.shape[1]
    if spare <= 0:
        raise CircuitError(
            f"{residuals.size} residuals say nothing of the uncertainty of {jacobian.shape[1]} "
            "numbers: there must be more residuals than numbers"
        )
    lengths = jnp.linalg.norm(jacobian, axis=0)
    # A number that changes nothing has a column of zeros and one of the last singular values. It
    # must not affect the others.
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


def _entries(numbers: dict[str, Array]) -> tuple[str, ...]:
    """A name for each entry of each number."""
    return tuple(
        name if value.ndim == 0 else f"{name}{[*index]}"
        for name, value in numbers.items()
        for index in np.ndindex(value.shape)
    )


def _warn(found: Uncertainty, weakest: Array) -> None:
    """Warns of numbers that the residuals hardly tell apart: where half of the digits are lost."""
    if bool(jnp.all(found.condition < 1 / jnp.sqrt(jnp.finfo(found.condition.dtype).eps))):
        return
    if found.condition.ndim:
        what = "some fits hardly tell their numbers apart"
    elif bool(jnp.isnan(found.condition)):
        what = (
            "the residuals, or their derivatives, are not finite: nothing is known of the numbers"
        )
    else:
        parts = np.abs(np.asarray(weakest))
        names = [found.names[index] for index in np.flatnonzero(parts > 0.1 * parts.max())]
        told = f"hardly tell {', '.join(names)} apart"
        if len(names) == 1:
            told = f"say next to nothing of {names[0]}"
        what = (
            f"the residuals {told} (condition number {float(found.condition):.2g}): standard "
            "errors mean little there; fix some of these numbers (trainable, Fixed), or take data "
            "that tell more of them"
        )
    warnings.warn(what, IdentifiabilityWarning, stacklevel=3)
