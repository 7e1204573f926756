"""One path over times, at once or in stretches."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...errors import CircuitError
from ..calculus import check_types
from ..convergence import facts
from ..rows import chosen
from ..stretches import Stand, Stretches, unended
from ..trajectory import Trajectory
from .failures import ADVICE, broken, status, unsolved_paths
from .tile import Paths, Tile
from .walk import Turns, Walk


class PathRun(Stretches[Walk]):
    """One path over times."""

    def __init__(self, tile: Tile, ts: Array, state: Any):
        self.tile, self.ts = tile, ts
        self.times = ts.astype(tile.equation.pointwise.time_dtype)
        begins = state is None
        self.start = tile.begin(self.times[0], 1) if begins else continued(tile, state, 1)
        self.turns = Turns(tile, self.times, 1)

    def whole(self) -> Trajectory:
        """The whole path, in one go."""
        end, rows = self.tile.run(self.times, self.start)
        return self.trajectory(end, rows, self.times[-1])

    def trajectory(self, end: Paths, rows: Any, last: Array) -> Trajectory:
        """What the path's rows give, `[times, 1, …]`, if it came to a time."""
        pointwise, started = self.tile.equation.pointwise, self.start.taken
        outputs, names = jax.tree.map(lambda rows: rows[:, 0], rows)
        failed = ~end.alive[0]
        step = jnp.maximum(end.good[0] - started, 0)
        stats = {
            "steps": jnp.where(failed, step, end.taken - started),
            "reached": jnp.where(failed, self.tile.steps.times(self.times, step), last),
            "wire": broken(end, jnp.int32(0)),
            "kernel": jnp.zeros((), bool),
        }
        if end.solves is not None:
            unsolved = end.solves.failed
            stats |= facts(end.solves, unsolved | ~jnp.any(unsolved))
        return Trajectory(
            ts=self.ts,
            outputs=outputs,
            names=names,
            status=status(failed, unsolved_paths(end)[0]),
            stats=stats,
            state=end,
            loops=pointwise.cut.loop_names,
            wires=pointwise.wire_names,
            advice=ADVICE,
        )

    def blank(self) -> Walk:
        types = jax.eval_shape(self.turns.begin, self.start)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), types)

    def advance(self, now: Walk, turns: Array) -> Walk:
        return self.turns.advance(self.start, now, turns)[0]

    def stand(self, now: Walk) -> Stand:
        ended = now.begun & (now.turn == self.turns.all)
        steps = jnp.where(now.begun, now.paths.taken - self.start.taken, 0)
        reached = self.tile.steps.times(self.times, steps)
        return Stand(ended, jnp.where(ended, self.times[-1], reached), steps)

    def read(self, now: Walk) -> Trajectory:
        stand = self.stand(now)
        found = self.trajectory(now.paths, self.turns.known(now), stand.reached)
        return unended(found, stand.ended)


def continued(tile: Tile, state: Any, paths: int) -> Paths:
    """A state as one of this run's, with so many paths."""
    begin = tile.blank(jnp.zeros(()), paths)
    if isinstance(state, Paths) and state.good.shape[0] != paths:
        raise CircuitError(
            f"the state must be that of an earlier run of as many paths: it has "
            f"{state.good.shape[0]}, and {paths} are to run"
        )
    check_types(state, begin, "contents", "sides", "guesses", "solves")
    solves = begin.solves
    if solves is not None and state.solves is not None:
        # Only of paths that have ended it is kept how.
        solves = chosen(jnp.any(state.solves.failed, axis=1), state.solves, solves)
    last = state.last.astype(tile.equation.pointwise.time_dtype)
    rings, steps = tile.rings, state.taken - state.before
    return dataclasses.replace(
        state,
        contents=rings.continued(state.contents, state.h, steps),
        solves=solves,
        last=last,
        h=rings.h,
        before=state.taken,
    )
