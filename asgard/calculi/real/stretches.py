"""A run under `Real` in stretches."""

import functools
from collections.abc import Callable
from typing import Any

from jax import lax
from jaxtyping import Array

from ..stretches import Stand, Stretches, unended
from ..trajectory import Trajectory
from .methods.method import OK
from .problem import Problem, Storage
from .reading import Ran, read
from .simulation import Simulation
from .stretch import Going, blank, run_of, stretch


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
        self.simulation, self.finished, self.storage = simulation, finished, storage
        self.state, self.switches = state, simulation.switches(state)

    def blank(self) -> Going:
        problem, flat, _ = self._problem
        return blank(problem, flat)

    def advance(self, now: Going, turns: Array) -> Going:
        problem, flat, _ = self._problem
        return stretch(problem, flat, now, turns)

    def stand(self, now: Going) -> Stand:
        problem, flat, _ = self._problem
        run, ts = run_of(problem, flat, now), self.simulation.ts
        found = run.count == ts.shape[0]
        ended = now.begun & (found | (run.status != OK))
        reached = lax.select(found, ts[-1], run.point.time)
        return Stand(ended, lax.select(now.begun, reached, ts[0]), run.steps - run.jumps)

    def read(self, now: Going) -> Trajectory:
        problem, flat, again = self._problem
        ran = Ran(run_of(problem, flat, now), again, now.is_kernel)
        found = self.finished(read(self.simulation, ran, self.switches, self.storage))
        return unended(found, self.stand(now).ended)

    @functools.cached_property
    def _problem(self) -> tuple[Problem, list[Array], Array]:
        """The run as a problem with its arguments; whether its first step was counted before."""
        return self.simulation.problem(self.state, self.switches, self.storage)
