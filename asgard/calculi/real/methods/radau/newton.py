"""The stages of one step by simplified Newton iterations (Hairer and Wanner, IV.8).

The factors are those of one Jacobian, perhaps of an earlier point, so iterations converge linearly.
How fast they do tells when to stop, and whether to go on at all.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from .....jaxprs.reductions import largest
from .....jaxprs.trees import select
from ...system import System
from .factors import Factors
from .stages import Correction, Stages, correction
from .tableau import Tableau

# Iterations that shrink less than this in one turn have failed.
SLOWEST = 0.99
# How exactly stages are found, in units of the tolerance and of rounding.
EXACTNESS, ROUNDING = 0.03, 4.0
# Of that, what a solve without factors leaves at best, and with how much left iterations may end.
# Measured: 970 steps of a wave at 1e-6 end with an error of 5e-7; with 1 in place of 0.2 of 5e-6.
GOAL, LEFT = 0.1, 0.2


class Scale(eqx.Module):
    """What changes of the state are measured by: tolerances, the state, and what rounding moves."""

    atol: Float[Array, "state *lanes"]
    rtol: Float[Array, "state *lanes"]
    state: Float[Array, "state *lanes"]
    rounding: Float[Array, "state *lanes"]

    def tolerance(self, z: Array) -> Array:
        """What is tolerated at the end of a step, by entry."""
        magnitude = lax.max(lax.abs(self.state), lax.abs(self.state + z[-1]))
        return self.atol + self.rtol * magnitude

    def unit(self, z: Array) -> Array:
        """How exactly stages are found, by entry."""
        rounding = ROUNDING * self.rounding + jnp.finfo(z.dtype).tiny
        return EXACTNESS * self.tolerance(z) + rounding


class Search(eqx.Module):
    """How far the iterations of a step came.

    - `moved`: the last change of z, in units of what is to be reached.
    - `ratio`, `rate`: by what the last turn shrank the change, and the last two on average.
    - `gain`: the error that is left, in units of the last change.
    - `converged`, `failed`: whether they ended, and how.
    - `smaller`: by what a size that converges is smaller, where they failed.
    """

    z: Float[Array, "stages state *lanes"]
    turns: Int[Array, "*lanes"]
    moved: Float[Array, "*lanes"]
    ratio: Float[Array, "*lanes"]
    rate: Float[Array, "*lanes"]
    gain: Float[Array, "*lanes"]
    smaller: Float[Array, "*lanes"]
    converged: Bool[Array, "*lanes"]
    failed: Bool[Array, "*lanes"]


def search(
    system: System,
    table: Tableau,
    stages: Stages,
    factors: Factors,
    scale: Scale,
    guess: Array,
    gain: Array,
    most: int,
) -> Search:
    """Iterates from a guess of z, for `most` turns at most; `gain` is that of the step before."""

    def turn(now: Search) -> Search:
        residual = stages.residual(system, table, now.z)
        step = correction(table, factors.measured(scale.unit(now.z), GOAL), residual)
        z = now.z + step.z
        after = _judged(now, z, step, scale, most)
        active = ~(now.converged | now.failed)
        return select(active, after, now)

    zero, no = jnp.zeros_like(stages.offset), jnp.zeros(stages.offset.shape, bool)
    start = Search(guess, jnp.zeros(no.shape, jnp.int32), zero, zero, zero, gain, zero + 1, no, no)
    return lax.while_loop(lambda now: jnp.any(~(now.converged | now.failed)), turn, start)


def _judged(now: Search, z: Array, found: Correction, scale: Scale, most: int) -> Search:
    """The search after one more turn."""
    step = largest(lax.abs(found.z))
    rounding = ROUNDING * scale.rounding + jnp.finfo(step.dtype).tiny
    moved = largest(step / scale.unit(z))
    turns, ratio = now.turns + 1, moved / now.moved
    known = turns > 1
    rate = jnp.where(turns > 2, lax.sqrt(ratio * now.ratio), ratio)
    gain = jnp.where(known, rate / (1 - rate), now.gain)
    left = (most - turns).astype(moved.dtype)
    slow = known & ~(rate < SLOWEST)
    # What would be left after all turns, in units of what is to be reached.
    rest = gain * moved * lax.pow(jnp.where(known, rate, 0), left)
    exact = largest(step / rounding) <= 1
    converged = exact | (~slow & (gain * moved <= 1))
    if found.left is not None:
        converged &= found.left <= LEFT
    finite = moved < jnp.inf
    failed = ~converged & (slow | ~finite | (turns >= most) | (known & (rest >= 1)))
    smaller = 0.8 * lax.pow(jnp.clip(rest, 1.0, 20.0), -1 / (5 + left))
    smaller = jnp.where(slow | ~finite, 0.5, smaller)
    return Search(z, turns, moved, ratio, rate, gain, smaller, converged, failed)
