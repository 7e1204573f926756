"""Packing: equations that do the same thing become one equation, on arrays of their values.

A circuit of many small wires is a program of many small equations. Each costs the overhead of an
operation, to compile and to run. Equations of one level (at one distance from the inputs) with the
same primitive, parameters and types run as one equation on values of shape `[members, *value]`.
This is SLP vectorisation (Larsen and Amarasinghe, *Exploiting superword level parallelism*, PLDI
2000), with levels in place of their search.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..jaxprs.concrete import is_concrete
from ..jaxprs.primitives import traits
from ..jaxprs.program import Equation, Program, trace
from .entries import Entries, Entry
from .registry import Bilinear, Frozen, Linear, kind_of

# The fewest equations of a pack, and the largest value that is packed.
NARROWEST = 4
LARGEST_PACKED = 64
# The cost of an equation that is not linear in series, in equations that only move values.
NONLINEAR = 4
# Of more pieces than this, entries are picked by a gather.
MOST_PIECES = 4


def packed(program: Program, series: Sequence[bool]) -> Program:
    """The same program, with packs as single equations.

    Equations on series are not packed with equations on constants, since a product of two series
    has another rule than a product with a number.

    **Arguments:** `series` says which of the program's inputs are series.
    """
    plan = _Plan(program, series)
    return _Writer(plan).write() if plan.packs else program


class _Plan:
    """Which equations of a program are packed.

    `steps` are lists of equations that run as one. The results of a list of several are entries of
    one array, its source, which has a negative number. `entries` are the values that are entries of
    a source. `views` are the equations that only stack values or take them apart, by their outputs.
    """

    def __init__(self, program: Program, series: Sequence[bool]):
        self.program, self.avals = program, program.avals
        flags = zip(program.inputs, series, strict=True)
        self.series = {number for number, flag in flags if flag}
        self.same: dict[int, int] = {}
        self.views: dict[int, Equation] = {}
        self.taken = Entries(self.avals)
        self.entries: dict[int, Entry] = {}
        self.depth: dict[int, int] = {}
        self.packs = 0
        self.steps: list[list[Equation]] = []
        kinds = self._kinds()
        worth = _Worth(self, kinds)
        packs = worth.packs()
        for index, equations in enumerate(kinds):
            if index in packs:
                self._add_pack(equations, worth.first_read)
            else:
                self.steps += [[equation] for equation in equations]

    @property
    def outputs(self) -> list[int]:
        """The numbers of the program's outputs."""
        return [self.same.get(number, number) for number in self.program.outputs]

    def _kinds(self) -> list[list[Equation]]:
        """The equations by level and by what they do, equal ones once."""
        found: dict[Hashable, Equation] = {}
        levels: dict[int, dict[Hashable, list[Equation]]] = {}
        for original in self.program.equations:
            equation = self._resolved(original)
            key = equation.key
            if key is not None and found.setdefault(key, equation) is not equation:
                self.same.update(zip(equation.outs, found[key].outs, strict=True))
                continue
            if not isinstance(kind_of(equation.name), Frozen) and self.series.intersection(
                equation.ins
            ):
                self.series.update(out for out in equation.outs if self._is_inexact(out))
            deepest = max((self.depth.get(number, 0) for number in equation.ins), default=0)
            if self._see_through(equation):
                self.depth.update((out, deepest) for out in equation.outs)
                continue
            self.depth.update((out, deepest + 1) for out in equation.outs)
            kind = self._kind(equation) or equation.outs
            levels.setdefault(deepest + 1, {}).setdefault(kind, []).append(equation)
        return [equations for _, kinds in sorted(levels.items()) for equations in kinds.values()]

    def _resolved(self, equation: Equation) -> Equation:
        ins = [self.same.get(number, number) for number in equation.ins]
        if traits(equation.name).commutative:
            # The series first and of these the deepest, so that members' operands correspond.
            ins.sort(key=lambda n: (n not in self.series, -self.depth.get(n, 0), n))
        return dataclasses.replace(equation, ins=tuple(ins))

    def _is_inexact(self, number: int) -> bool:
        return jnp.issubdtype(self.avals[number].dtype, jnp.inexact)

    def _see_through(self, equation: Equation) -> bool:
        """Whether an equation only takes entries along the first axis, or puts them together."""
        if equation.name != "stack" or equation.params["axis"] != 0:
            if not self.taken.see(equation):
                return False
            for out in self.taken.found.keys() & equation.outs:
                entry = self.taken.found[out]
                whole = self.views.get(entry.source)
                if whole is not None and whole.name == "stack":
                    self.same[out] = whole.ins[entry.index]
                else:
                    self.entries[out] = entry
        self.views.update((out, equation) for out in equation.outs)
        return True

    def _kind(self, equation: Equation) -> Hashable | None:
        """The same for equations that may be packed together, None where one may not be."""
        if not traits(equation.name).elementwise or equation.key is None:
            return None
        types = [self.avals[number] for number in (*equation.outs, *equation.ins)]
        shape = types[0].shape
        if math.prod(shape) > LARGEST_PACKED or any(aval.shape != shape for aval in types):
            return None
        carried = tuple(number in self.series for number in equation.ins)
        dtypes = tuple(aval.dtype for aval in types)
        return equation.name, equation.key[2], shape, dtypes, carried, self._exponent(equation)

    def _exponent(self, equation: Equation) -> int | None:
        """The exponent of a power, where it is known: by it the rule of its series is chosen."""
        if equation.name != "pow":
            return None
        exponent = equation.ins[1]
        constant = self.program.constants.get(exponent)
        return exponent if constant is not None and is_concrete(constant) else None

    def _add_pack(
        self, equations: list[Equation], first_read: Mapping[int, tuple[int, int]]
    ) -> None:
        self.packs += 1
        # Together what is read together, and in the order of what they read: for neither values
        # need to be put into another order then.
        nowhere = (-1, -1)
        members = sorted(
            equations,
            key=lambda one: (
                first_read.get(one.outs[0], nowhere),
                [self._found_at(number) for number in one.ins],
            ),
        )
        for index, member in enumerate(members):
            self.entries[member.outs[0]] = Entry(-self.packs, index)
        self.steps.append(members)

    def _found_at(self, number: int) -> tuple[int, int]:
        entry = self.entries.get(number)
        return (number, 0) if entry is None else (entry.source, entry.index)


class _Worth:
    """Which kinds of equations save more when packed than the moves of their values cost."""

    def __init__(self, plan: _Plan, kinds: Sequence[list[Equation]]):
        self.plan, self.kinds = plan, kinds
        self.kept = {index for index, one in enumerate(kinds) if len(one) >= NARROWEST}
        self.kind = {out: index for index in self.kept for one in kinds[index] for out in one.outs}
        # What reads a value: the indices of kinds, None for what takes it alone. And by which kind,
        # as which operand, it is read first.
        self.readers: dict[int, set[int | None]] = {number: {None} for number in plan.outputs}
        self.first_read: dict[int, tuple[int, int]] = {}
        for index, equations in enumerate(kinds):
            for column, number in (pair for one in equations for pair in enumerate(one.ins)):
                self.readers.setdefault(number, set()).add(index)
                read = self.first_read.get(number, (index, column))
                self.first_read[number] = min(read, (index, column))
        for view in plan.views.values():
            if view.name != "stack":
                self.readers.setdefault(view.ins[0], set()).add(None)

    def packs(self) -> set[int]:
        """The indices of the kinds to pack. Each kind given up makes its neighbours worth less."""
        pending = sorted(self.kept)
        while pending:
            index = pending.pop()
            if index in self.kept and self._cost(index) >= self._saving(index):
                self.kept.remove(index)
                equations = self.kinds[index]
                near = {self.kind.get(number) for one in equations for number in one.ins}
                near.update(*(self.readers.get(one.outs[0], ()) for one in equations))
                pending += sorted(one for one in near if one in self.kept)
        return self.kept

    def _saving(self, index: int) -> int:
        equations = self.kinds[index]
        kind, carried = kind_of(equations[0].name), self.plan.series.intersection(equations[0].ins)
        linear = isinstance(kind, Linear) or (isinstance(kind, Bilinear) and len(carried) < 2)
        return (len(equations) - 1) * (1 if linear else NONLINEAR)

    def _cost(self, index: int) -> int:
        """How many moves stack the operands, and take single results out."""
        equations = self.kinds[index]
        columns = zip(*(one.ins for one in equations), strict=True)
        alone = [one for one in equations if not self.readers.get(one.outs[0], set()) <= self.kept]
        return len(alone) + sum(map(self._column_cost, columns))

    def _column_cost(self, numbers: tuple[int, ...]) -> int:
        entries, kept = self.plan.entries, self.kept
        moving = self.plan.series.intersection(numbers)  # the others are put together once
        if len(moving) <= 1:
            return 0
        sources = {entries[number].source for number in moving if number in entries}
        packs = {self.kind[number] for number in moving if self.kind.get(number) in kept}
        alone = sum(
            number not in entries and self.kind.get(number) not in kept for number in moving
        )
        if len(packs) == 1 and numbers == tuple(one.outs[0] for one in self.kinds[min(packs)]):
            return 0
        return alone + len(sources) + len(packs)


class _Writer:
    """Writes a plan's program. Values keep their numbers; new ones are counted on."""

    def __init__(self, plan: _Plan):
        self.plan, self.program = plan, plan.program
        self.constants, self.avals = dict(self.program.constants), dict(self.program.avals)
        self.equations: list[Equation] = []
        self.known = {*self.constants, *self.program.inputs}
        self.packs: dict[int, int] = {}  # the numbers of what packs give, by their sources
        self.bundles: dict[tuple[int, ...], int] = {}

    def write(self) -> Program:
        """The program with its packs as single equations."""
        for members in self.plan.steps:
            if len(members) == 1:
                self._add(members[0])
            else:
                self._add_pack(members)
        outputs = tuple(map(self._number, self.plan.outputs))
        return Program(
            self.program.inputs, outputs, self.constants, tuple(self.equations), self.avals
        )

    def _add(self, equation: Equation) -> None:
        ins = tuple(map(self._number, equation.ins))
        self.equations.append(dataclasses.replace(equation, ins=ins))
        self.known.update(equation.outs)

    def _add_pack(self, members: Sequence[Equation]) -> None:
        aval = self.avals[members[0].outs[0]]
        columns = zip(*(one.ins for one in members), strict=True)
        # A number stays one: by what it is some rules are chosen.
        numbers = traits(members[0].name).takes_numbers and aval.shape == ()
        ins = tuple(
            column[0]
            if numbers and len(set(column)) == 1 and column[0] in self.constants
            else self._bundle(column)
            for column in columns
        )
        out = self._new(jax.ShapeDtypeStruct((len(members), *aval.shape), aval.dtype))
        self.equations.append(dataclasses.replace(members[0], ins=ins, outs=(out,)))
        self.packs[self.plan.entries[members[0].outs[0]].source] = out

    def _number(self, number: int) -> int:
        """The number of a value that the program has; a view is added first."""
        if number in self.known:
            return number
        entry, view = self.plan.entries.get(number), self.plan.views.get(number)
        if entry is not None:
            source, index = self._source(entry), entry.index
            self._inline(lambda x: lax.index_in_dim(x, index, keepdims=False), [source], number)
        elif view is not None and view.name == "stack":
            return self._bundle(view.ins)
        else:
            assert view is not None
            self._add(view)
        return number

    def _source(self, entry: Entry) -> int:
        return self.packs[entry.source] if entry.source < 0 else self._number(entry.source)

    def _bundle(self, numbers: tuple[int, ...]) -> int:
        """The number of the values of some numbers, stacked along a first axis."""
        if numbers not in self.bundles:
            self.bundles[numbers] = self._put_together(numbers)
        return self.bundles[numbers]

    def _put_together(self, numbers: tuple[int, ...]) -> int:
        aval = self.avals[numbers[0]]
        if set(numbers).issubset(self.constants):
            values = [jnp.asarray(self.constants[number], aval.dtype) for number in numbers]
            return self._constant(jnp.stack(values))
        if len(set(numbers)) == 1:
            count = len(numbers)
            return self._inline(lambda x: lax.broadcast(x, (count,)), [self._number(numbers[0])])
        pieces = self._pieces(numbers)
        if len(pieces) > MOST_PIECES:
            return self._picked(numbers)
        parts = [self._part(*piece) for piece in pieces]
        return parts[0] if len(parts) == 1 else self._inline(_concatenated, parts)

    def _pieces(self, numbers: Sequence[int]) -> list[tuple[int | None, list[int]]]:
        """Runs of entries side by side in a source, with the source, and runs of other values."""
        pieces: list[tuple[int | None, list[int]]] = []
        for number in numbers:
            entry = self.plan.entries.get(number)
            source, index = (None, number) if entry is None else (self._source(entry), entry.index)
            follows = bool(pieces) and pieces[-1][0] == source
            if follows and (source is None or pieces[-1][1][-1] + 1 == index):
                pieces[-1][1].append(index)
            else:
                pieces.append((source, [index]))
        return pieces

    def _part(self, source: int | None, indices: list[int]) -> int:
        if source is None:
            return self._inline(lambda *values: jnp.stack(values), list(map(self._number, indices)))
        if len(indices) == self.avals[source].shape[0]:
            return source
        return self._inline(lambda x: lax.slice_in_dim(x, indices[0], indices[-1] + 1), [source])

    def _picked(self, numbers: Sequence[int]) -> int:
        """As `_bundle`, by a gather from all sources side by side."""
        entries = self.plan.entries
        sources = dict.fromkeys(self._source(entries[n]) for n in numbers if n in entries)
        others = [n for n in dict.fromkeys(numbers) if n not in entries]
        sizes = [self.avals[source].shape[0] for source in sources]
        starts = dict(zip(sources, np.cumsum([0, *sizes]).tolist(), strict=False))
        indices = {n: sum(sizes) + index for index, n in enumerate(others)}
        indices |= {
            n: starts[self._source(entries[n])] + entries[n].index for n in numbers if n in entries
        }
        parts = [*sources, *([self._part(None, others)] if others else [])]
        found = [indices[n] for n in numbers]
        return self._inline(lambda *arrays: _taken(_concatenated(*arrays), found), parts)

    def _inline(self, fn: Callable[..., Any], ins: Sequence[int], out: int | None = None) -> int:
        """Adds the equations of a function; returns the number of its value: `out` if given."""
        inner = trace(lambda *values: (fn(*values),), *(self.avals[number] for number in ins))
        numbers = dict(zip(inner.inputs, ins, strict=True))
        if out is not None:
            numbers[inner.outputs[0]] = out
            self.known.add(out)
        for number, value in inner.constants.items():
            numbers[number] = self._constant(value)
        for equation in inner.equations:
            for number in equation.outs:
                numbers.setdefault(number, -1)
                if numbers[number] < 0:
                    numbers[number] = self._new(inner.avals[number])
            self.equations.append(equation.renumbered(numbers))
        return numbers[inner.outputs[0]]

    def _constant(self, value: Any) -> int:
        number = self._new(value)
        self.constants[number] = value
        return number

    def _new(self, aval: Any) -> int:
        number = len(self.avals)
        self.avals[number] = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        self.known.add(number)
        return number


def _concatenated(*arrays: Array) -> Array:
    return arrays[0] if len(arrays) == 1 else lax.concatenate(arrays, 0)


def _taken(array: Array, indices: Sequence[int]) -> Array:
    """The entries at some indices along the first axis."""
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(1, array.ndim)), collapsed_slice_dims=(0,), start_index_map=(0,)
    )
    return lax.gather(
        array,
        np.asarray(indices, np.int32)[:, None],
        numbers,
        slice_sizes=(1, *array.shape[1:]),
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )
