"""A traced function cut into excerpts.

One node for all of a function would make each output depend on each input, and loops that are none.
So equations that depend on the same sources (inputs and states) and on which the same sinks
(outputs and feeds) depend are one excerpt. Then a wire that an excerpt drives depends on all that
the excerpt reads, and no path leads from a source to a sink that does not need it: what an excerpt
reads depends on fewer sources, or has more sinks.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from ...jaxprs.open_values import open_p
from ...jaxprs.program import Equation, Program
from .excerpt import Code


def is_open(equation: Equation) -> bool:
    """Whether an equation is the value of a state or circuit that the function opened."""
    return equation.primitive is open_p


def depends(program: Program, leaves: int) -> dict[int, int]:
    """The sources of each value, as bits; 0 for a value that only numbers make.

    The first `leaves` inputs of the program are numbers. The sources are its other inputs, in
    order, and then the opened values.
    """
    masks = dict.fromkeys((*program.inputs[:leaves], *program.constants), 0)
    count = 0
    for value in program.inputs[leaves:]:
        masks[value] = 1 << count
        count += 1
    for equation in program.equations:
        mask = 0
        if is_open(equation):
            mask, count = 1 << count, count + 1
        for value in equation.ins:
            mask |= masks[value]
        masks.update(dict.fromkeys(equation.outs, mask))
    return masks


def excerpts(
    owner: str, program: Program, sources: Mapping[int, int], sinks: Sequence[int]
) -> list[Code]:
    """The excerpts of a program.

    **Arguments:** `sources` is what `depends` gives; `sinks` are the values of the wires that leave
    the function and of those that feed its nodes.
    """
    members = _groups(program, sources, sinks)
    maker = {
        value: index for index, equation in enumerate(program.equations) for value in equation.outs
    }
    cuts = [_Cut(program, sources, maker, indices) for indices in members.values()]
    read = {value for cut in cuts for value in cut.reads}.union(sinks)
    codes = [cut.code(owner, read) for cut in cuts]
    return [code for code in codes if code.drives]


def _groups(
    program: Program, sources: Mapping[int, int], sinks: Sequence[int]
) -> dict[tuple[int, int], list[int]]:
    """The indices of equations by what they depend on and by what depends on them."""
    needed: dict[int, int] = {}
    for number, value in enumerate(sinks):
        needed[value] = needed.get(value, 0) | 1 << number
    found: dict[tuple[int, int], list[int]] = {}
    for index in reversed(range(len(program.equations))):
        equation = program.equations[index]
        by = 0
        for value in equation.outs:
            by |= needed.get(value, 0)
        for value in equation.ins:
            needed[value] = needed.get(value, 0) | by
        source = sources[equation.outs[0]]
        if source and by and not is_open(equation):
            found.setdefault((source, by), []).append(index)
    return {key: indices[::-1] for key, indices in reversed(found.items())}


class _Cut:
    """An excerpt in the making: `reads` and `numbers` are the values that come from outside.

    Wires carry inexact values. One of another type that comes from outside, such as a comparison,
    is computed again.
    """

    def __init__(
        self,
        program: Program,
        sources: Mapping[int, int],
        maker: Mapping[int, int],
        members: Iterable[int],
    ):
        self.program = program
        self.members = set(members)
        own, self.indices = self.members, set(self.members)
        reads, numbers, self.constants = dict[int, None](), dict[int, None](), set[int]()
        pending = [v for index in sorted(own) for v in program.equations[index].ins][::-1]
        while pending:
            value = pending.pop()
            index = maker.get(value)
            if index in self.indices:
                continue
            if value in program.constants:
                self.constants.add(value)
            elif jnp.issubdtype(program.avals[value].dtype, jnp.inexact) or index is None:
                (reads if sources[value] else numbers)[value] = None
            else:
                self.indices.add(index)
                pending += program.equations[index].ins
        self.reads, self.numbers = tuple(reads), tuple(numbers)

    def code(self, owner: str, read: Iterable[int]) -> Code:
        """The excerpt, which drives those of some values that its own equations make."""
        equations = self.program.equations
        driven = {value for index in self.members for value in equations[index].outs}
        used = {
            v for index in self.indices for v in (*equations[index].ins, *equations[index].outs)
        }
        return Code(
            owner,
            tuple(equations[index] for index in sorted(self.indices)),
            self.reads,
            self.numbers,
            tuple(sorted(driven.intersection(read))),
            {value: self.program.constants[value] for value in self.constants},
            {value: self.program.avals[value] for value in used},
        )


def known(program: Program, leaves: Sequence[Any], wanted: Iterable[int]) -> dict[int, Any]:
    """The wanted values that depend on no source, from the numbers: computed once, in no loop."""
    # A literal of a jaxpr may be a plain number.
    constants = {
        number: jnp.asarray(value, program.avals[number].dtype)
        if isinstance(value, float | int | complex)
        else value
        for number, value in program.constants.items()
    }
    values = {**constants, **dict(zip(program.inputs, leaves, strict=False))}
    wanted = list(wanted)
    missing = set(wanted).difference(values)
    kept: list[Equation] = []
    for equation in reversed(program.equations):
        if missing.intersection(equation.outs):
            kept.append(equation)
            missing.update(value for value in equation.ins if value not in values)
    for equation in reversed(kept):
        results = equation.bind(*(values[value] for value in equation.ins))
        values.update(zip(equation.outs, results, strict=True))
    return {value: values[value] for value in wanted}
