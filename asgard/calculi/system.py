"""What is integrated, by which tolerances, and the point that a run has come to.

Everything here may have lanes: one more axis at the end, the same for all, of runs side by side.
"""

import dataclasses
import itertools
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

# Where in a step its polynomial must satisfy the equation: at its end, and spread by the golden
# ratio, so as to meet no period. Fewer points do where the equation neither branches nor names
# time: then no kink and no pulse comes but by the solution itself.
CHECKS = (*sorted(k * 0.6180339887498949 % 1 for k in range(1, 12)), 1.0)
SMOOTH_CHECKS = (*sorted(k * 0.6180339887498949 % 1 for k in range(1, 4)), 1.0)


@dataclasses.dataclass(frozen=True)
class System:
    """y' = f(t, y) with a flat state.

    `expand(t, y)` gives the Taylor coefficients of the solution through (t, y), of shape
    `[order + 1, state]`; `field(t, y)` gives f; `wires[i]` is the wire that entry i belongs to;
    `checks` are the parts of a step at which it is checked, `one_by_one` or all at once.
    """

    expand: Callable[[Array, Array], Array]
    field: Callable[[Array, Array], Array]
    wires: np.ndarray
    checks: tuple[float, ...] = CHECKS
    one_by_one: bool = False


class Control(eqx.Module):
    """Tolerances and bounds of the steps; `breakpoints` are sorted times where no step may pass."""

    rtol: Float[Array, "*lanes"]
    atol: Float[Array, "*lanes"]
    max_step: Float[Array, "*lanes"]
    breakpoints: Float[Array, "breakpoints *lanes"]


class Point(eqx.Module):
    """A point of a run between two steps.

    The state is that at `time + late`, and `remainder` is what rounding left out of it so far.
    `step` is the size that the last step's series allowed, infinite before the first.
    """

    time: Float[Array, "*lanes"]
    late: Float[Array, "*lanes"]
    state: Inexact[Array, "state *lanes"]
    remainder: Inexact[Array, "state *lanes"]
    step: Float[Array, "*lanes"]


def wire_norms(system: System, values: Array) -> Array:
    """The largest magnitude on each wire."""
    sizes = jnp.abs(values)
    count = int(system.wires[-1]) + 1
    if count == len(system.wires):
        return sizes
    starts = np.searchsorted(system.wires, np.arange(count + 1))
    return jnp.stack([jnp.max(sizes[a:b], axis=0) for a, b in itertools.pairwise(starts)])


def horner(coefficients: Array, offset: Array) -> Array:
    """The sum of coefficients[k] offset^k, for one offset."""
    # Plain lax operations: this is traced many times, and jnp's indexing takes most of that time.
    rows = [lax.index_in_dim(coefficients, k, keepdims=False) for k in range(len(coefficients))]
    factor = lax.convert_element_type(offset, coefficients.dtype)
    factor = lax.broadcast_in_dim(factor, rows[0].shape, range(1, rows[0].ndim))
    value = rows.pop()
    while rows:
        value = lax.add(lax.mul(value, factor), rows.pop())
    return value


def orders(coefficients: Array) -> Array:
    dtype = jnp.finfo(coefficients.dtype).dtype
    orders = jnp.arange(coefficients.shape[0], dtype=dtype)
    return orders.reshape((-1,) + (1,) * (coefficients.ndim - 1))
