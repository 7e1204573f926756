"""Derivatives of runs that are run again for them, and record their paths then."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...jaxprs.flags import Avals, Flags
from ...jaxprs.lane_call import Run as LaneRun
from ...jaxprs.lane_call import bind, in_tiles
from ...jaxprs.linear_call import Chain
from . import path as paths
from .derivatives import (
    AlongPath,
    Derivative,
    RunCall,
    known_of,
    run_of,
    tile_of,
)
from .problem import Problem

# How many bytes of records the lanes of a kernel have at most when they are run again, about what a
# core's cache holds: 128 stiff runs of Robertson took 150 ms in tiles of 64, and 50 in tiles of 4.
RECORD = 2**21
# From how many on runs that are no kernel first make room for few steps: see `Brief`.
LONG_RECORD = 2**22
# How many bytes the points that runs keep have at most, or fewer are kept. A gradient of 64 runs of
# a graph of 240 numbers took 36 ms with room for 1,024 points, 20 of them to make the room.
POINTS = 2**23
# How many they make room for at once, where they need it. If all that XLA sets aside is more than
# 32 MiB, the C library has it anew from the system each time, and each page costs a fault.
LONGEST_RECORD = 2**24


def tile_again(problem: Problem) -> int:
    """How many runs go side by side where they are run again."""
    if problem.multiplies:
        return tile_of(problem)
    return max(1, min(tile_of(problem), RECORD // problem.record))


def points_of(problem: Problem, size: int) -> int:
    """How many points the path of each of so many runs keeps, for their derivatives: all that there
    may be, so many as a path keeps at most, or if these take much room the number that takes least,
    with the steps between two of them, each a state and its remainder."""
    rows = paths.rows_of(problem.room, problem.checkpoints)
    if problem.checkpoints is None or problem.delays is not None or not isinstance(size, int):
        return rows
    field = problem.programs["field"]
    one = max(problem.size, 1) * field.avals[field.inputs[1]].dtype.itemsize
    if rows * one * max(1, min(size, tile_again(problem))) <= POINTS:
        return rows
    return min(rows, 1 << (2 * problem.room).bit_length() // 2)


def begins_briefly(problem: Problem, size: int) -> bool:
    """Whether so many runs first make room for few steps."""
    return problem.multiplies and isinstance(size, int) and size * problem.record > LONG_RECORD


def is_apart(problem: Problem, size: int) -> bool:
    """Whether a derivative of so many runs, which are together, runs them again. A symbolic size,
    as in exports, is no number."""
    return isinstance(size, int) and size > tile_again(problem)


def has_no_path(problem: Problem, count: int) -> bool:
    """Whether runs have no path in a batch of so many, as their derivatives run them again."""
    fewer = points_of(problem, count) < points_of(problem, 0)
    return fewer or is_apart(problem, count) or begins_briefly(problem, count)


@dataclasses.dataclass(frozen=True, eq=False)
class Recorders:
    """The calls of a run that record its path: of all steps, or of the first ones. `record` gives
    that of a problem."""

    record: Callable[[Problem], RunCall]

    def along(self, call: AlongPath, size: int) -> tuple[RunCall, Derivative]:
        """The one of them for so many runs, and the derivative along what it records, where `call`
        is that along a whole path."""
        problem, rows = call.problem, points_of(call.problem, size)
        call = call.within(problem.max_steps, rows)
        whole = self.record(dataclasses.replace(problem, rows=rows))
        if not begins_briefly(problem, size):
            return whole, call
        first = min(problem.max_steps, paths.CHECKPOINTS - 1)
        brief = dataclasses.replace(problem, room=first)
        rows = points_of(brief, size)
        brief = self.record(dataclasses.replace(brief, rows=rows))
        return brief, Brief(Again(whole, call), call.within(first, rows))

    def in_batch(self, call: AlongPath, size: int, count: int) -> "Again | None":
        """What stands for a derivative in a batch of `count` runs, which have no path where it runs
        them again; None where they have one. There may be more lanes than runs: `size`."""
        if not has_no_path(call.problem, count):
            return None
        return Again(*self.along(call.at_hand(), size))


Call = TypeVar("Call", bound=Derivative)


class _By(Chain, Derivative, Generic[Call]):
    """A derivative that another one, `call`, gives at last."""

    def __init__(self, call: Call):
        self.call, self.moving = call, call.moving

    @property
    def sums(self) -> Flags | None:
        return self.call.sums

    def outline(self, avals: Avals) -> list[Any]:
        return self.call.outline(avals)

    def of_transposed(self, results: list[Any]) -> list[Any]:
        return self.call.of_transposed(results)


class Again(_By[Derivative]):
    """A derivative of a run whose path is not at hand: each tile is run again, and records it.

    A path has room for `max_steps` sizes in each lane. That of all lanes would be put together from
    those of the tiles, and taken apart again, in seven passes through memory: at the default
    `max_steps` the gradient of 1,000 runs of two states under `jax.vmap` took 1,300 ms so, and 50
    run again.

    `kept` is the call of the run, which records its path, and `call` the derivative along that.
    There are no operands about the run.
    """

    def __init__(self, kept: RunCall, call: Derivative):
        super().__init__(call)
        self.kept = kept

    @property
    def known(self) -> int:
        return len(self.moving)

    @property
    def tile(self) -> int:
        return tile_again(self.kept.problem)

    def by_lane(self) -> "Again":
        found = copy.copy(self)
        found.call = self.call.by_lane()
        return found

    def in_turn(
        self, run: LaneRun, operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        return run(self.call, *self._recorded(run, operands, laned, size), size)

    def plain(self, *operands: Any) -> list[Any]:
        return self.call.plain(*self._recorded(bind, operands, (False,) * len(operands), 0)[0])

    def _recorded(
        self, run: LaneRun, operands: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Any], Flags]:
        """The operands of the derivative, by a run that records its path, and which have lanes."""
        count = self.known
        primals, flags = operands[:count], laned[:count]
        *recorded, _ = run(self.kept, primals, flags, size)
        found = run_of(self.kept.problem, primals, flags, recorded)
        known, known_lanes = known_of(self.kept.problem, primals, flags, size, found)
        return [*known, *operands[count:]], (*known_lanes, *laned[count:])

    def transposed(
        self, cotangents: Sequence[Any], known: Flags, laned: Flags, size: int
    ) -> "tuple[Again, list[Any], Flags]":
        call, linear, flags = self.call.transposed(cotangents, known, laned, size)
        return Again(self.kept, call), linear, flags


class Brief(_By[AlongPath]):
    """A derivative along a path that has room for the first steps of a run alone; where the run
    took more, it is run again with room for all. It is for runs that are no kernel: their lanes go
    side by side.

    Room for 65,536 sizes in each lane, as many as there may be by default, takes longer to make
    than a batch takes to run: the gradient of 256 runs of a small network took 29 ms, now 3. Runs
    of more steps than are kept here take 1.2 times as long for it.

    `call` goes along the path at hand, and `whole` runs again.
    """

    def __init__(self, whole: Again, call: AlongPath):
        super().__init__(call)
        self.whole = whole

    @property
    def known(self) -> int:
        return self.call.known

    @property
    def tile(self) -> int:
        return self.call.tile

    def by_lane(self) -> "Brief":
        found = copy.copy(self)
        found.whole, found.call = self.whole.by_lane(), self.call.by_lane()
        return found

    def in_turn(
        self, run: LaneRun, operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        but_path = self.call.but_path
        return self.whole.in_turn(run, but_path(operands), but_path(laned), size)

    def compiled(
        self, run: LaneRun, operands: Sequence[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        def all_again() -> list[Array]:
            again, flags = self.call.but_path(operands), self.call.but_path(laned)
            turn, count = functools.partial(self.whole.in_turn, run), len(self.moving)
            most = max(1, LONGEST_RECORD // self.whole.kept.problem.record)
            if size <= most or not kernel:
                return turn(again, flags, size)
            linear = (False,) * count + (True,) * (len(again) - count)
            return in_tiles(turn, again, flags, size, most, linear, self.sums)

        enough = jnp.max(self.call.steps(operands)) <= self.call.problem.room + 1
        return lax.cond(enough, lambda: run(self.call, operands, laned, size), all_again)

    def plain(self, *operands: Any) -> list[Any]:
        return self.whole.plain(*self.call.but_path(operands))

    def transposed(
        self, cotangents: Sequence[Any], known: Flags, laned: Flags, size: int
    ) -> "tuple[Brief, list[Any], Flags]":
        whole, linear, flags = self.whole.transposed(cotangents, known, laned, size)
        call = self.call.transposed(cotangents, known, laned, size)[0]
        return Brief(whole, call), linear, flags
