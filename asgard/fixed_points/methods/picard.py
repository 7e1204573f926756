"""Picard's method: z := g(z)."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .method import Equations, Method, Proposal, Search


class Contraction(eqx.Module):
    """By how much the last step was smaller than the one before, and the slower of the last two of
    these ratios."""

    ratio: Float[Array, "*lanes"]
    rate: Float[Array, "*lanes"]


class Picard(Method):
    """Takes g(z), which needs a contraction. Turns are cheap."""

    def start(self, z: Array) -> Contraction:
        infinite = jnp.full(z.shape[1:], jnp.inf, z.dtype)
        return Contraction(infinite, infinite)

    def evaluated(self, equations: Equations, now: Search) -> Contraction:
        return now.memory

    def propose(self, equations: Equations, now: Search) -> tuple[Proposal, Any]:
        scale, known = equations.scale, now.memory
        step = equations.control.damping * now.residual
        size = scale.measure(step, now.z, now.z + step)
        # A slow contraction adds up the roundings of as many turns as it takes, and it has taken
        # those. A rate closer to 1 is none: steps that grow with z, as those of 2 z + 1, have it.
        turns = (now.steps + 1).astype(now.z.dtype)
        part = jnp.where(known.rate < 1, jnp.maximum(1 - known.rate, 1 / turns), 1)
        rounded = scale.is_rounding(step * part, now.z, now.z + step)
        # A rate takes two ratios, as one may be small by chance. Those of rounding say nothing.
        ratio = jnp.where(jnp.isfinite(now.size), size / now.size, jnp.inf)
        fresh = ~rounded | ~(known.rate < 1)
        rate = jnp.where(fresh, jnp.maximum(ratio, known.ratio), known.rate)
        # After a step s of a contraction by `rate` all further steps add up to s rate / (1 - rate).
        error = jnp.where(rate < 1, size * rate / (1 - rate), jnp.inf)
        at_once = (now.steps == 0) & (scale.roundings(step, now.z) <= 2)
        error = jnp.where((size == 0) | at_once, 0, error)
        failed = ~jnp.isfinite(size)
        proposal = Proposal(step, size, error, ~failed, rounded, failed)
        return proposal, Contraction(ratio, rate)
