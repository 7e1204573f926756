"""Whether a solution of z = g(z) is the only one nearby: whether 1 - J is regular there."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from .linear import SMALL, add_to_diagonal, inverse_in_lanes
from .methods.method import CONVERGED, Equations, Outcome
from .rounding import ROUNDING


def is_isolated(
    equations: Equations, guess: Array, found: Outcome, seen: Array
) -> Bool[Array, "*lanes"]:
    """Whether 1 - J is regular where a search ended, up to rounding; True where that is not known.

    x = x has every x as a solution, and its search ends at the guess. So does that of x = |x| at 0,
    where only the Jacobian on one side tells. Hence Jacobians on both sides of the solution are
    looked at, except in lanes where the method has `seen` that 1 - J is regular. With more than 8
    unknowns they cost many turns, and only searches with an entry that solves its equation at the
    guess are looked at. With more than 512 there is no Jacobian.
    """
    slopes_at, converged = equations.slopes, found.state == CONVERGED
    if slopes_at is None:
        return converged
    doubtful = ~seen
    if found.z.shape[0] > SMALL:
        doubtful = jnp.any((found.residual == 0) & (found.z == guess), axis=0)
    resolution = jnp.finfo(found.z.dtype)
    offset = ROUNDING * resolution.eps * jnp.abs(found.z) + resolution.tiny**0.5
    # Another offset for each unknown, as there may be a kink where two are equal.
    offset *= 1 + lax.broadcasted_iota(offset.dtype, offset.shape, 0) / offset.shape[0]

    def look(side: Array, regular: Array) -> Array:
        sign = (2 * side - 1).astype(offset.dtype)
        slopes = slopes_at(found.z + sign * offset)
        known = jnp.min(jnp.isfinite(slopes).astype(jnp.int32), axis=(0, 1)) > 0
        return regular & (~known | equations.scale.is_regular(condition(slopes)))

    looks = jnp.any(converged & doubtful)
    if found.z.shape[0] <= SMALL:
        return lax.fori_loop(0, jnp.where(looks, 2, 0), look, converged)
    # XLA copies what a loop reads, turns or none: 12 µs for the weights of 100 unknowns. A branch
    # that is not taken reads nothing.
    return lax.cond(looks, lambda: lax.fori_loop(0, 2, look, converged), lambda: converged)


def condition(slopes: Float[Array, "n n *lanes"]) -> Float[Array, "*lanes"]:
    """How many roundings of 1 - J one of the inverse is: the trace of |(1 - J)^-1| (1 + |J|).

    It does not depend on the scales of the unknowns. (Skeel, *Scaling for numerical stability in
    Gaussian elimination*, J. ACM 26, 1979, has the norm of that matrix, which does.)
    """
    matrix = add_to_diagonal(-slopes, 1.0)
    if slopes.shape[0] == 1:
        return ((1 + jnp.abs(slopes)) / jnp.abs(matrix))[0, 0]
    sizes = jnp.swapaxes(add_to_diagonal(jnp.abs(slopes), 1.0), 0, 1)
    return jnp.sum(jnp.abs(inverse_in_lanes(matrix)) * sizes, axis=(0, 1))
