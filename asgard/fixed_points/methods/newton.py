"""Newton's method on g(z) - z."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..linear import add_to_diagonal, iterative_solve, solve_in_lanes
from ..rounding import ROUNDING, Scale, every, norm
from .method import RUNNING, Equations, Method, Proposal, Search

# Below this part of z steps are taken whole even if the residual rises: the solution is near.
NEAR = 1e-4
# A step that was halved so often is given up.
HALVINGS = 24


class Descent(eqx.Module):
    """What Newton's method remembers.

    - `direction`: Newton's step at z.
    - `base`, `taken`: the z from which the last step went, and Newton's step there.
    - `length`: what part of that step was taken; infinite before the first one.
    - `norm`: the norm of the residual at the base.
    - `near`: the base is near the solution.
    - `halvings`: how often the step was halved.
    - `gain`: by how much z moved for each unit of residual, in the last step that halved it.
    """

    direction: Float[Array, "unknowns *lanes"]
    base: Float[Array, "unknowns *lanes"]
    taken: Float[Array, "unknowns *lanes"]
    length: Float[Array, "*lanes"]
    norm: Float[Array, "*lanes"]
    near: Bool[Array, "*lanes"]
    halvings: Int[Array, "*lanes"]
    gain: Float[Array, "*lanes"]


class Newton(Method):
    """Takes Newton's steps on g(z) - z, halved as long as the residual does not fall.

    The Jacobian is found in forward mode. With too many unknowns it is not formed, and GMRES finds
    the steps.
    """

    proves: ClassVar[bool] = True

    def start(self, z: Array) -> Descent:
        lanes = z.shape[1:]
        infinite, zero = jnp.full(lanes, jnp.inf, z.dtype), jnp.zeros(lanes, z.dtype)
        none = jnp.zeros(lanes, bool), jnp.zeros(lanes, jnp.int32)
        return Descent(z, z, z, infinite, infinite, *none, zero)

    def evaluated(self, equations: Equations, now: Search) -> Descent:
        """With Newton's step s at z: s - J s = g(z) - z."""

        def newton(z: Array, residual: Array) -> Array:
            if equations.slopes is not None:
                return solve_in_lanes(add_to_diagonal(-equations.slopes(z), 1.0), residual)
            _, push = jax.linearize(equations.g, z)
            return iterative_solve(lambda s: s - push(s), residual)

        running = jnp.any(now.state == RUNNING)
        direction = lax.cond(running, newton, lambda _, residual: residual, now.z, now.residual)
        return dataclasses.replace(now.memory, direction=direction)

    def propose(self, equations: Equations, now: Search) -> tuple[Proposal, Descent]:
        """A step from where the residual fell; else half of the last one."""
        known, scale, damping = now.memory, equations.scale, equations.control.damping
        resolution = float(jnp.finfo(now.z.dtype).eps)
        missing = norm(now.residual)
        falls = missing <= known.norm * (1 - 1e-4 * jnp.minimum(known.length, 1))
        accepts = jnp.isfinite(missing) & (falls | known.near)
        half = jnp.minimum(known.length, 1) / 2
        back = known.base + half * known.taken - now.z
        # Where 1 - J is singular, a step of Picard's leads on; at a solution there is none.
        regular = every(jnp.isfinite(known.direction))
        direction = jnp.where(regular, known.direction, now.residual)
        after = now.z + direction
        size = scale.measure(direction, now.z, after)
        gain = self._gain(scale, now, missing)
        told = scale.is_determined(gain)
        begun = jnp.isfinite(known.norm)
        halvings = jnp.where(accepts, 0, known.halvings + 1)
        stuck = ~jnp.isfinite(size) | (~regular & (missing == 0))
        failed = jnp.where(accepts, stuck, ~begun | (halvings > HALVINGS))
        rounded = scale.is_rounding(now.residual, now.z, now.z)
        rounded &= scale.is_rounding(direction, now.z, after, resolution ** (-1 / 3))
        # Where g is the difference of numbers much larger than z, the residual of rounding is
        # larger too, and the steep g divides it out of the step.
        rounded |= scale.roundings(direction, now.z) <= ROUNDING
        rounded &= told
        proposal = Proposal(
            step=jnp.where(accepts, damping * direction, back),
            size=size,
            error=jnp.where(told, self._error(equations, now, direction, size), jnp.inf),
            judged=accepts & ~failed & regular,
            rounded=rounded,
            failed=failed,
        )
        memory = Descent(
            direction=known.direction,
            base=jnp.where(accepts, now.z, known.base),
            taken=jnp.where(accepts, direction, known.taken),
            length=jnp.where(accepts, damping, half),
            norm=jnp.where(accepts, missing, known.norm),
            near=accepts & scale.is_rounding(direction, now.z, after, NEAR / resolution),
            halvings=halvings,
            gain=gain,
        )
        return proposal, memory

    def _error(self, equations: Equations, now: Search, direction: Array, size: Array) -> Array:
        """The error after a whole step of this size, in units of the tolerance."""
        scale, whole = equations.scale, equations.control.damping == 1
        # Steps s that fall fast fall quadratically: the next is below s^2 / the one before.
        ratio = size / now.size
        fast = (ratio < 0.1) & (now.memory.length == 1) & jnp.isfinite(now.size)
        error = jnp.where(fast & whole, size * ratio, size)
        # A residual of rounding falls no more, however little the step misses.
        exact = scale.roundings(now.residual, now.z) <= 2
        return jnp.where(exact & scale.is_rounding(direction, now.z, now.z + direction), 0, error)

    def _gain(self, scale: Scale, now: Search, missing: Array) -> Array:
        """By how much z moved for each unit of residual, where the last step tells that."""
        known, move = now.memory, now.z - now.memory.base
        tells = jnp.isfinite(known.norm) & (2 * missing <= known.norm)
        tells &= ~scale.is_rounding(move, now.z, now.z)
        return jnp.where(tells, norm(move) / (known.norm - missing), known.gain)
