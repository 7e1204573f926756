"""A method of solving z = g(z): it proposes steps, and one loop takes them, turn by turn.

z is a real vector `[unknowns, *lanes]`. Each lane has its own steps, and stays as it is once it is
done. A turn takes a step and then evaluates g at the new z.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ...jaxprs.trees import select
from ..rounding import Scale, SolveControl

# After so many turns in which steps did not get smaller, they get smaller no more.
STAGNANT = 8
# How a lane stands. One that is left is taken over by another method.
RUNNING, CONVERGED, FAILED, LEFT = range(4)


@dataclasses.dataclass(frozen=True)
class Equations:
    """z = g(z). `slopes(z)` is the Jacobian of g, `[unknowns, unknowns, *lanes]`; None where it is
    too large to be formed. `scale` knows the tolerances."""

    g: Callable[[Array], Array]
    slopes: Callable[[Array], Array] | None
    scale: Scale

    @property
    def control(self) -> SolveControl:
        """The numbers of the `FixedPoint`."""
        return self.scale.control


class Outcome(eqx.Module):
    """Where a search ended: the last z, g(z) - z there, how each lane stands, the turns taken."""

    z: Float[Array, "unknowns *lanes"]
    residual: Float[Array, "unknowns *lanes"]
    state: Int[Array, "*lanes"]
    steps: Int[Array, "*lanes"]


class Search(eqx.Module):
    """Where a search stands.

    `residual` is g(z) - z. `size` is that of the last step in units of the tolerance, `least` the
    smallest size, `best` the z from which that step went, and `waiting` the turns since then. What
    is not known yet is infinite. `memory` is what the method remembers.
    """

    z: Float[Array, "unknowns *lanes"]
    residual: Float[Array, "unknowns *lanes"]
    state: Int[Array, "*lanes"]
    steps: Int[Array, "*lanes"]
    size: Float[Array, "*lanes"]
    least: Float[Array, "*lanes"]
    best: Float[Array, "unknowns *lanes"]
    waiting: Int[Array, "*lanes"]
    memory: Any


class Proposal(eqx.Module):
    """A step from z, and the error after it, in units of the tolerance.

    - `judged`: the error can be trusted, and the step's size counts.
    - `rounded`: a step of this size is rounding, if steps get no smaller.
    - `failed`: there is no step.
    - `leaves`: the method gives up, and another one goes on from the z `back`, the best one where
      that is None; None for never.
    """

    step: Float[Array, "unknowns *lanes"]
    size: Float[Array, "*lanes"]
    error: Float[Array, "*lanes"]
    judged: Bool[Array, "*lanes"]
    rounded: Bool[Array, "*lanes"]
    failed: Bool[Array, "*lanes"]
    leaves: Bool[Array, "*lanes"] | None = None
    back: Float[Array, "unknowns *lanes"] | None = None


class Method(eqx.Module):
    """How steps are chosen. A method of your own is a subclass, as `Picard` is."""

    # The method that goes on where this one leaves.
    then: ClassVar["Method | None"] = None
    # Whether it finds no solution at which 1 - J is singular, of one unknown and after some steps.
    proves: ClassVar[bool] = False

    @abc.abstractmethod
    def start(self, z: Array) -> Any:
        """What is remembered before the first turn, as a pytree of arrays `[..., *lanes]`.

        Arrays over the unknowns start as z: a compiled kernel takes no arrays that are constants.
        """

    @abc.abstractmethod
    def propose(self, equations: Equations, now: Search) -> tuple[Proposal, Any]:
        """The next step, and what is remembered after it."""

    @abc.abstractmethod
    def evaluated(self, equations: Equations, now: Search) -> Any:
        """What is remembered after g was evaluated. `now` has the new z and its residual."""


def take_turns(method: Method, equations: Equations, found: Outcome) -> Outcome:
    """Goes on with a search in those lanes that are running, until none is."""
    scale, max_steps = equations.scale, equations.control.max_steps

    def evaluated(now: Search) -> Search:
        # What g gives is kept. XLA would compute it anew in each of the many uses of it.
        now = dataclasses.replace(now, residual=equations.g(now.z) - now.z)
        return dataclasses.replace(now, memory=method.evaluated(equations, now))

    def turn(now: Search) -> Search:
        proposal, memory = method.propose(equations, now)
        z = jnp.where(proposal.failed, now.z, now.z + proposal.step)
        counts = proposal.judged & (proposal.size < now.least)
        waiting = jnp.where(counts | ~proposal.judged, 0, now.waiting + 1)
        best = jnp.where(counts, now.z, now.best)
        # Steps of rounding go to and fro; equal steps in one direction lead away.
        stays = scale.measure(z - best, best, z) <= waiting / 2 * proposal.size
        still = (waiting >= STAGNANT) & proposal.rounded & stays
        done = proposal.judged & ((proposal.error <= 1) | still)
        steps = now.steps + 1
        state = jnp.where(proposal.failed | (steps >= max_steps), FAILED, RUNNING)
        if proposal.leaves is not None:
            leaves = proposal.leaves & (steps < max_steps) & ~done
            back = best if proposal.back is None else proposal.back
            state, z = jnp.where(leaves, LEFT, state), jnp.where(leaves, back, z)
        after = Search(
            z,
            now.residual,
            jnp.where(done, CONVERGED, state).astype(jnp.int32),
            steps,
            jnp.where(proposal.judged, proposal.size, now.size),
            jnp.where(counts, proposal.size, now.least),
            best,
            waiting,
            memory,
        )
        # With lanes, those that are done stay as they are; without, this one is not done.
        return evaluated(select(now.state == RUNNING, after, now) if z.ndim > 1 else after)

    z, infinite = found.z, jnp.full(found.z.shape[1:], jnp.inf, found.z.dtype)
    waiting = jnp.zeros(z.shape[1:], jnp.int32)
    start = Search(z, z, found.state, found.steps, infinite, infinite, z, waiting, method.start(z))
    end = lax.while_loop(lambda now: jnp.any(now.state == RUNNING), turn, evaluated(start))
    return Outcome(end.z, end.residual, end.state, end.steps)
