"""The default method: Picard's steps, then Newton's where Picard's would take long."""

import dataclasses
from typing import Any, ClassVar

from jaxtyping import Array

from .method import Equations, Method, Proposal, Search
from .newton import Newton
from .picard import Contraction, Picard

# Newton's method goes on where so many more turns, and one for each unknown, would not do.
PATIENCE = 4
# The rate is judged after so many turns.
JUDGED = 3


class Auto(Method):
    """Takes Picard's steps first. After three of them it goes over to Newton's method if they do
    not contract, or would take more than 4 further turns, and one for each unknown, at the rate
    observed."""

    then: ClassVar[Method | None] = Newton()

    def start(self, z: Array) -> Contraction:
        return Picard().start(z)

    def evaluated(self, equations: Equations, now: Search) -> Contraction:
        return now.memory

    def propose(self, equations: Equations, now: Search) -> tuple[Proposal, Any]:
        proposal, memory = Picard().propose(equations, now)
        # The error that so many further turns would leave; none is known of steps that grow.
        left = proposal.error * memory.rate ** (PATIENCE + now.z.shape[0])
        slow = (now.steps + 1 >= JUDGED) & ~((memory.rate < 1) & (left <= 1))
        # g is not finite there. At the guess that ends the search.
        broken = proposal.failed & (now.steps > 0)
        return dataclasses.replace(proposal, leaves=slow | broken), memory
