"""The derivatives of a run as calls that run in lanes: forward along its recorded steps, and
backward."""

import abc
import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad
from jaxtyping import Array

from ...circuits.fields import LARGEST_COUNT
from ...jaxprs.flags import Avals, Flags, flagged, in_lanes, inexact, merge, one_lane
from ...jaxprs.kernel import LARGEST_SUM
from ...jaxprs.lane_call import LaneCall, bind, sums_of
from ...jaxprs.linear_call import LinearCall
from . import runs
from .path import Path
from .problem import Arguments, Problem, lanes_first, own_matrices
from .retake import replay, retake
from .runs import Run
from .sweep import Sweep

# How many runs of a batch go side by side on the CPU, at most.
TILE = 64
# The most operations of a kernel with delays. The Mackey-Glass equation in `benchmarks/delays.py`
# has 900 with Taylor steps and 1,900 with Dopri8, and is 3 to 6 times as fast as a kernel.
LONGEST_WITH_DELAYS = 4000
# How many leaves a path has.
_PATH = len(dataclasses.fields(Path))


def arguments_of(problem: Problem, operands: Sequence[Any]) -> Arguments:
    """The operands of a run, or what is said of each, by name."""
    return jax.tree.unflatten(problem.leaves, operands)


def types_of(problem: Problem, avals: Avals) -> Run:
    """The types of a run's results, as a run, from those of its operands."""
    given = arguments_of(problem, avals)
    return jax.eval_shape(functools.partial(runs.blank, problem), given.ts, given.begin)


def run_of(problem: Problem, operands: Sequence[Any], laned: Flags, results: Sequence[Any]) -> Run:
    """The results of a run as a run."""
    types = types_of(problem, one_lane(operands, laned))
    return jax.tree.unflatten(jax.tree.structure(types), results)


def known_of(
    problem: Problem, primals: Sequence[Any], laned: Flags, size: int, run: Run
) -> tuple[list[Any], Flags]:
    """What a derivative is told of a run that has recorded its path: the operands that it is not
    linear in, and which of them have lanes."""
    again = arguments_of(problem, primals).again
    path = dataclasses.replace(run.path, taken=lax.stop_gradient(run.path.taken))
    counts = [run.count, run.steps + again]
    if run.records is not None:
        counts.append(run.records.count)
    about = [*jax.tree.leaves(path), *counts]
    return [*primals, *about], (*laned, *(size > 0,) * len(about))


def tile_of(problem: Problem) -> int:
    """How many runs of a batch go side by side."""
    if problem.multiplies:
        return LARGEST_COUNT
    asked = problem.method.side_by_side(problem.size)
    most = TILE if asked is None else min(TILE, asked)
    return max(1, min(most, (LARGEST_SUM - 1) // problem.largest))


class RunCall(LaneCall):
    """A call of a run."""

    problem: Problem


class Derivative(LinearCall):
    """A derivative of a run by those operands of the run that are `moving`.

    Its operands are those of the run, maybe some about it, and then those in which it is linear.
    """

    moving: Flags

    def by_lane(self) -> "Derivative":
        return self

    @property
    @abc.abstractmethod
    def known(self) -> int:
        """How many operands it is not linear in."""

    @abc.abstractmethod
    def transposed(
        self, cotangents: Sequence[Any], known: Flags, laned: Flags, size: int
    ) -> "tuple[Derivative, list[Any], Flags]":
        """The call that gives the cotangents of what it is linear in, the operands in which that
        one is linear, and which of these have lanes. `known` says which operands of the run have
        lanes, `laned` which of those that it is linear in."""

    def of_transposed(self, results: list[Any]) -> list[Any]:
        """What of the results of the transposed call is asked for."""
        return results

    def transpose(
        self, cotangents: Sequence[Any], operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        known = self.known
        call, linear, flags = self.transposed(
            cotangents, laned[: len(self.moving)], laned[known:], size
        )
        results = bind(call, [*operands[:known], *linear], (*laned[:known], *flags), size)
        return self.of_transposed(results)


class AlongPath(Derivative):
    """A derivative along the recorded steps of a run.

    Its operands about the run are the path, how many states were saved and steps taken, and how
    many events were kept where any are. `batches` gives what stands for it in a batch, in which the
    path may not be there: see `Recorders.in_batch`.
    """

    def __init__(self, problem: Problem, rows: int, moving: Flags, batches: Any = None):
        self.problem, self.rows, self.moving, self.batches = problem, rows, moving, batches

    def within(self, most: int, rows: int) -> "AlongPath":
        """The same of a run with room for so many steps, and so many points."""
        found = copy.copy(self)
        found.problem, found.rows = dataclasses.replace(self.problem, room=most), rows
        return found

    def in_batch(
        self, operands: Sequence[Any], laned: Flags, size: int, before: Flags, count: int
    ) -> list[Array]:
        found = self.apart(laned, size, before, count)
        if found is None:
            return bind(self, operands, laned, size)
        call, own = found
        return bind(call, own(operands), own(laned), size)

    def apart(
        self, laned: Flags, size: int, before: Flags, count: int
    ) -> "tuple[LinearCall, Callable[[Sequence[Any]], tuple[Any, ...]]] | None":
        primals = len(self.moving)
        begins = any(laned[:primals]) and not any(before[:primals])
        if self.batches is None or not begins:
            return None
        call = self.batches(self, size, count)
        return None if call is None else (call, self.but_path)

    def at_hand(self) -> "AlongPath":
        """The same along a path that is there in batches, too."""
        found = copy.copy(self)
        found.batches = None
        return found

    def but_path(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """The operands, or what is said of each, without those about the run."""
        return *operands[: len(self.moving)], *operands[self.known :]

    def differentiate(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        if any(not isinstance(tangent, ad.Zero) for tangent in tangents[: self.known]):
            return super().differentiate(primals, tangents, laned, size)
        dots = [ad.instantiate_zeros(tangent) for tangent in tangents[self.known :]]
        derivatives = bind(self, [*primals[: self.known], *dots], laned, size)
        return bind(self, primals, laned, size), derivatives

    def by_lane(self) -> "AlongPath":
        return self

    @abc.abstractmethod
    def transposed(
        self, cotangents: Sequence[Any], known: Flags, laned: Flags, size: int
    ) -> "tuple[AlongPath, list[Any], Flags]": ...

    @property
    def longest(self) -> int | None:
        return None if self.problem.delays is None else LONGEST_WITH_DELAYS

    @property
    def tile(self) -> int:
        return tile_of(self.problem)

    @property
    def known(self) -> int:
        return len(self.moving) + _PATH + 2 + self.problem.keeps_events

    def split(self, operands: Sequence[Any]) -> tuple[Any, list[Any], list[Any]]:
        """The operands of the run, those about it, and the rest."""
        count = len(self.moving)
        about = list(operands[count : self.known])
        return list(operands[:count]), about, list(operands[self.known :])

    def steps(self, operands: Sequence[Any]) -> Array:
        """How many steps the run took, `[*lanes]`."""
        return operands[len(self.moving) + _PATH + 1]

    def replay(self, known: Sequence[Any], once: bool = False) -> Any:
        """From the moving operands to the inexact results, and the moving operands."""
        primals, about, _ = self.split(known)
        path, taken = about[:_PATH], self.steps(known)

        def run(*values: Any) -> list[Any]:
            arguments = arguments_of(self.problem, merge(self.moving, values, primals))
            found = replay(self.problem, arguments, Path(*path), taken, once)
            return inexact(jax.tree.leaves(found))

        return run, flagged(self.moving, primals)


class Tangent(AlongPath):
    """The derivatives of a run's inexact results by the tangents of its moving operands."""

    def outline(self, avals: Avals) -> list[Any]:
        return inexact(jax.tree.leaves(types_of(self.problem, self.split(avals)[0])))

    def room(self, avals: Avals) -> list[Any]:
        return 2 * types_of(self.problem, self.split(avals)[0]).large

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        primals, about, tangents = self.split(operands)
        flags, *others = self.split(laned)
        values = in_lanes(flagged(self.moving, primals), flagged(self.moving, flags), size)
        tangents = in_lanes(tangents, others[1], size)
        flags = [f or (moves and size > 0) for f, moves in zip(flags, self.moving, strict=True)]
        path, taken, half = about[:_PATH], self.steps(operands), len(room) // 2

        def run(room: list[Any], values: list[Any]) -> list[Any]:
            arguments = arguments_of(self.problem, merge(self.moving, values, primals))
            found = retake(
                self.problem,
                arguments,
                Path(*path),
                taken,
                room,
                arguments_of(self.problem, flags),
                size,
                scatter=not kernel,
            )
            return inexact(jax.tree.leaves(found))

        return jax.jvp(run, (room[:half], values), (room[half:], tangents))[1]

    def plain(self, *operands: Any) -> list[Any]:
        run, values = self.replay(operands)
        return jax.jvp(run, values, list(operands[self.known :]))[1]

    def transposed(
        self, cotangents: Sequence[Any], known: Flags, laned: Flags, size: int
    ) -> "tuple[Cotangent, list[Any], Flags]":
        given = tuple(not isinstance(cotangent, ad.Zero) for cotangent in cotangents)
        pairs = zip(flagged(self.moving, known), laned, strict=True)
        shared = tuple(size > 0 and not any(pair) for pair in pairs)
        sums = shared if self.problem.multiplies and any(shared) else None
        call = Cotangent(self.problem, self.rows, self.moving, given, sums, self.batches)
        return call, flagged(given, cotangents), (size > 0,) * sum(given)


class Cotangent(AlongPath):
    """The cotangents of a run's moving operands by those of its inexact results that are given.

    Where a batch shares large operands, such as the weights of a network, their cotangents are sums
    over the lanes: see `LaneCall.sums`.
    """

    def __init__(
        self,
        problem: Problem,
        rows: int,
        moving: Flags,
        given: Flags,
        sums: Flags | None = None,
        batches: Any = None,
    ):
        super().__init__(problem, rows, moving, batches)
        self.given, self.shared = given, sums

    @property
    def sums(self) -> Flags | None:
        return self.shared

    def by_lane(self) -> "Cotangent":
        found = copy.copy(self)
        found.shared = None
        return found

    def outline(self, avals: Avals) -> list[Any]:
        return flagged(self.moving, self.split(avals)[0])

    def room(self, avals: Avals) -> list[Any]:
        given = arguments_of(self.problem, self.split(avals)[0])
        constants = flagged(self._wanted, self.problem.derived_of(given.constants))
        # Sums have no lanes, which all room has.
        return [given.ts, given.control.breakpoints, *flagged(self._by_lane, constants)]

    @property
    def _wanted(self) -> tuple[bool, ...]:
        """Which constants of the programs that derivatives flow through move."""
        return tuple(self.problem.derived_of(arguments_of(self.problem, self.moving).constants))

    @property
    def _by_lane(self) -> tuple[bool, ...]:
        """Which of the wanted constants have cotangents for each lane."""
        if self.shared is None:
            return (True,) * sum(self._wanted)
        sums = merge(self.moving, self.shared, self.moving)
        found = self.problem.derived_of(arguments_of(self.problem, sums).constants)
        return tuple(not is_sum for is_sum in flagged(self._wanted, found))

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        if self.problem.delays is not None:
            return self._replayed(operands, laned, size)
        primals, about, cotangents = self.split(operands)
        flags, others, more = self.split(laned)
        counts = in_lanes(about[_PATH:], others[_PATH:], size)
        cotangents = in_lanes(cotangents, more, size)
        arguments = arguments_of(self.problem, primals)
        moves = arguments_of(self.problem, self.moving)
        laned_constants = arguments_of(self.problem, flags).constants
        matrices = own_matrices(self.problem, arguments.constants, laned_constants)
        first = flagged(self._wanted, self.problem.derived_of(matrices))
        sweep = Sweep(
            problem=dataclasses.replace(self.problem, rows=self.rows),
            arguments=arguments,
            laned=arguments_of(self.problem, flags),
            size=size,
            given=self._results(one_lane(primals, flags), cotangents),
            wanted=self._wanted,
            sums=self.shared is not None,
            matrices=matrices,
            constants=lanes_first(arguments.constants, matrices),
            # Events move the times of steps.
            timed=self.problem.guards > 0
            or any((moves.ts, moves.begin.time, moves.begin.late, moves.control.breakpoints)),
            scatter=not kernel,
        )
        ts, stops, *own = room
        shared = flagged(self._wanted, self.problem.derived_of(arguments.constants))
        constants = merge(self._by_lane, own, [jnp.zeros_like(x) for x in shared])
        constants = _moved(first, constants, -1, 0)
        room = [ts, stops, *constants]
        found = sweep.run(Path(*about[:_PATH]), others[:_PATH], counts, room)
        zeros = in_lanes(primals, flags, size)
        nothing = arguments_of(self.problem, [jnp.zeros_like(x) for x in zeros])
        none = self.problem.derived_of(nothing.constants)
        constants = merge(self._wanted, _moved(first, found.constants, 0, -1), none)
        whole = dataclasses.replace(
            nothing,
            ts=found.ts,
            begin=dataclasses.replace(found.point, memory=nothing.begin.memory),
            control=dataclasses.replace(nothing.control, breakpoints=found.breakpoints),
            constants=self.problem.with_derived(nothing.constants, constants),
        )
        results = flagged(self.moving, jax.tree.leaves(whole))
        pairs = zip(results, sums_of(self, results), flagged(self.moving, primals), strict=True)
        # What the sweep has not summed itself: all but the constants.
        return [
            jnp.sum(x, axis=-1) if is_sum and x.ndim > operand.ndim else x
            for x, is_sum, operand in pairs
        ]

    def _results(self, avals: Avals, cotangents: Sequence[Any]) -> Run:
        """The cotangents of all results, None for those that are not given."""
        leaves, structure = jax.tree.flatten(types_of(self.problem, avals))
        rest = iter(merge(self.given, cotangents, [None] * len(self.given)))
        found = [next(rest) if jnp.issubdtype(leaf.dtype, jnp.inexact) else None for leaf in leaves]
        return jax.tree.unflatten(structure, found)

    def _replayed(self, operands: list[Any], laned: Flags, size: int) -> list[Array]:
        """The cotangents by the loop that has all derivatives: a later step may read any earlier
        one, which the sweep has not gone through yet."""
        pull = functools.partial(self._pulled, once=True)
        if not size:
            return pull(*operands)
        axes = [-1 if flag else None for flag in laned]
        results = jax.vmap(pull, in_axes=axes, out_axes=-1)(*operands)
        sums = sums_of(self, results)
        return [
            jnp.sum(x, axis=-1) if is_sum else x for x, is_sum in zip(results, sums, strict=True)
        ]

    def plain(self, *operands: Any) -> list[Any]:
        return self._pulled(*operands)

    def _pulled(self, *operands: Any, once: bool = False) -> list[Any]:
        run, values = self.replay(operands, once)
        results, back = jax.vjp(run, *values)
        zeros = [jnp.zeros_like(x) for x in results]
        return list(back(merge(self.given, operands[self.known :], zeros)))

    def transposed(
        self, cotangents: Sequence[Any], known: Flags, laned: Flags, size: int
    ) -> tuple[Tangent, list[Any], Flags]:
        call = Tangent(self.problem, self.rows, self.moving, self.batches)
        flags = tuple(size > 0 and not is_sum for is_sum in sums_of(self, cotangents))
        return call, [ad.instantiate_zeros(cotangent) for cotangent in cotangents], flags

    def of_transposed(self, results: list[Any]) -> list[Any]:
        return flagged(self.given, results)


def _moved(flags: Flags, values: Sequence[Any], source: int, place: int) -> list[Any]:
    """The values, with an axis of those whose flag is set at another place."""
    pairs = zip(values, flags, strict=True)
    return [jnp.moveaxis(x, source, place) if flag else x for x, flag in pairs]
