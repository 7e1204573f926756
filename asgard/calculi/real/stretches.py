"""A run under `Real` in stretches."""

from collections.abc import Callable
from typing import Any

from jax import lax
from jaxtyping import Array

from ..stretches import Stand, Stretches, unended
from ..trajectory import Trajectory
from .methods.method import OK
from .runs import Storage
from .simulation import Simulation
from .stretch import Going


class RealStretches(Stretches[Going]):
    """The loop of a run's steps: a turn is the try of a step.

    `finished` makes of a trajectory what the run returns.
    """

    def __init__(
        self,
        simulation: Simulation,
        state: Any,
        storage: Storage,
        finished: Callable[[Trajectory], Trajectory],
    ):
        self.simulation, self.finished = simulation, finished
        self.given = state, simulation.switches(state), storage

    def blank(self) -> Going:
        return self.simulation.blank(*self.given)

    def advance(self, now: Going, turns: Array) -> Going:
        return self.simulation.stretch(*self.given, now, turns)

    def stand(self, now: Going) -> Stand:
        run, ts = now.carried.run, self.simulation.ts
        found = run.count == ts.shape[0]
        ended = now.begun & (found | (run.status != OK))
        reached = lax.select(found, ts[-1], run.point.time)
        return Stand(ended, lax.select(now.begun, reached, ts[0]), run.steps - run.jumps)

    def read(self, now: Going) -> Trajectory:
        _, switches, storage = self.given
        ran = self.simulation.ran(*self.given, now)
        found = self.finished(self.simulation.read(ran, switches, storage))
        return unended(found, self.stand(now).ended)
