"""The equations of the stages of one step, and corrections of their unknowns.

The unknowns are z, `[stages, state, *lanes]`: by how much the state at each stage differs from that
at the step's start. With the tableau's matrix D they solve D z = h f(t + c h, y + z). Guesses, the
last entries of a state, are no unknowns. Where a state holds unknowns of loops, after its first
`differential` entries, these have no derivative: there f = 0 is solved.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .....jaxprs.fences import stored
from .....jaxprs.reductions import combined, largest, total
from ...system import System
from ..method import up_to
from .factors import Factors, fit_kernel
from .tableau import Tableau

# A term by which stages are guessed may be so many times as large as the one before.
GROWS = 2.0


class Stages(eqx.Module):
    """The stages of one step: their times, the state at the step's start, the step's signed size.

    `guesses` are the entries of the state that are no unknowns.
    """

    times: Float[Array, "stages *lanes"]
    state: Float[Array, "state *lanes"]
    guesses: Float[Array, "guesses *lanes"]
    offset: Float[Array, "*lanes"]
    differential: int = eqx.field(static=True)

    def slopes(self, system: System, z: Array) -> Array:
        """h f at all stages."""
        size, lanes = len(self.state), self.guesses.shape
        states = self.state[None] + z
        if lanes[0]:
            guesses = jnp.broadcast_to(self.guesses[None], (len(z), *lanes))
            states = lax.concatenate([states, guesses], 1)
        return self.offset * field_at(system, self.times, states)[:, :size]

    def residual(self, system: System, table: Tableau, z: Array) -> Array:
        """h f - D z."""
        return self.slopes(system, z) - self.rates(table, z)

    def rates(self, table: Tableau, z: Array) -> Array:
        """D z, 0 for unknowns of loops."""
        return combine(table.slopes, differential(z, self.differential, 1))

    def whole(self, index: int, z: Array) -> tuple[Array, Array]:
        """The time and the state, with guesses, at one stage."""
        return self.times[index], lax.concatenate([self.state + z[index], self.guesses], 0)


def stages_of(
    system: System, table: Tableau, time: Array, state: Array, offset: Array, latest: Array
) -> Stages:
    """The stages of a step from a time and state. No rounding moves them past the latest time."""
    nodes = table.nodes.astype(time.dtype).reshape(-1, *(1,) * time.ndim)
    times = up_to(latest, time + nodes * offset, offset)
    count = system.differential
    return Stages(times, state[: system.size], state[system.size :], offset, count)


def differential(values: Array, count: int, axis: int) -> Array:
    """The values of entries that have a derivative, the first ones along an axis; 0 for others."""
    if count == values.shape[axis]:
        return values
    numbers = lax.broadcasted_iota(jnp.int32, values.shape, axis)
    return jnp.where(numbers < count, values, 0)


def field_at(system: System, times: Array, states: Array) -> Array:
    """The field at several points, side by side where the system allows that."""
    if not system.one_by_one:
        return jax.vmap(system.field)(times, states)
    return lax.map(lambda point: system.field(*point), (times, states))


def combine(matrix: np.ndarray, values: Array) -> Array:
    """The sums of matrix[i, j] values[j] over j."""
    _, size, *lanes = values.shape
    if not fit_kernel((max(matrix.shape) + 1) // 2, size, math.prod(lanes)):
        return combined(matrix.T, values)
    matrix = matrix.astype(values.dtype).reshape(*matrix.shape, *(1,) * (values.ndim - 1))
    products: Any = matrix * stored(values)[None]
    return total(products, 1)


def extrapolated(table: Tableau, rows: Array, ratio: Array, unit: Array) -> Array:
    """The stages by the polynomial of the step before, for a step r times as long: the sums of
    rows[k] (c r)ᵏ⁺¹.

    Terms count up to where they grow, in a `unit` for each entry of the state: past that, a long
    extrapolation is further off than none. Measured: HIRES and the Oregonator by 7 stages at 1e-2
    take 0.7 and 0.5 of the time.
    """
    heights = [largest(lax.abs(row) / unit) for row in rows]
    counts = jnp.ones(ratio.shape, bool)
    chosen = [rows[0]]
    for row, before, height in zip(rows[1:], heights, heights[1:], strict=False):
        counts &= ratio * height <= GROWS * before
        chosen.append(jnp.where(counts, row, 0))
    nodes = table.nodes.astype(rows.dtype).reshape(-1, *(1,) * ratio.ndim)
    part = (nodes * ratio)[:, None]
    value = jnp.zeros_like(rows)
    for row in chosen[::-1]:
        value = (value + row[None]) * part
    return value


class Correction(NamedTuple):
    """What is missing in z, and `left` as in `Solved`."""

    z: Array
    left: Array | None


def correction(
    table: Tableau, factors: Factors, residual: Array, transposed: bool = False
) -> Correction:
    """What a residual of the stages says is missing in z, if f is as linear as its factors say."""
    into, back = table.to_systems, table.to_stages
    if transposed:
        into, back = back.T, into.T
    count = len(table.real)
    both = combine(into, residual)
    found = factors.solve(both[:count], both[count:], transposed)
    z = combine(back, lax.concatenate([found.real, found.imaginary], 0))
    return Correction(z, found.left)


def rounding(factors: Factors, values: Array, transposed: bool = False) -> Array:
    """By how much rounding of values moves what is solved from them, by entry, `[n, *lanes]`."""
    values = jnp.abs(values)
    return jnp.finfo(values.dtype).eps * (values + factors.spread(values, transposed))
