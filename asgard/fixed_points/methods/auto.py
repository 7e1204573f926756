"""The default method: Picard's steps, then Newton's where Picard's would take long."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..rounding import norm
from .method import Equations, Method, Proposal, Search
from .newton import Newton
from .picard import Contraction, Picard

# Newton's method goes on where so many more turns, and one for each unknown, would not do.
PATIENCE = 4
# The rate is judged after so many turns.
JUDGED = 3


class Trail(eqx.Module):
    """What is known of Picard's steps: the guess from which they went, the norm of the last
    residual, and whether it has fallen in every turn."""

    contraction: Contraction
    guess: Float[Array, "unknowns *lanes"]
    missing: Float[Array, "*lanes"]
    falls: Bool[Array, "*lanes"]


class Auto(Method):
    """Takes Picard's steps first. After three of them it goes over to Newton's method if they do
    not contract, or would take more than 4 further turns, and one for each unknown, at the rate
    observed. From steps that lead away it goes back to the guess."""

    then: ClassVar[Method | None] = Newton()

    def start(self, z: Array) -> Trail:
        contraction = Picard().start(z)
        return Trail(contraction, z, contraction.rate, jnp.ones(z.shape[1:], bool))

    def evaluated(self, equations: Equations, now: Search) -> Trail:
        return now.memory

    def propose(self, equations: Equations, now: Search) -> tuple[Proposal, Trail]:
        known = now.memory
        picard = dataclasses.replace(now, memory=known.contraction)
        proposal, memory = Picard().propose(equations, picard)
        # The error that so many further turns would leave; none is known of steps that grow.
        left = proposal.error * memory.rate ** (PATIENCE + now.z.shape[0])
        slow = (now.steps + 1 >= JUDGED) & ~((memory.rate < 1) & (left <= 1))
        # g is not finite there. At the guess that ends the search.
        broken = proposal.failed & (now.steps > 0)
        # Equal steps get smaller beside a growing z, so the residuals themselves are compared.
        missing = norm(now.residual)
        falls = known.falls & (missing < 0.99 * known.missing)
        back = jnp.where(falls & ~broken, now.z, known.guess)
        proposal = dataclasses.replace(proposal, leaves=slow | broken, back=back)
        return proposal, Trail(memory, known.guess, missing, falls)
