"""What a lifted program remembers between orders: what later steps read of earlier ones."""

import dataclasses
from collections.abc import Collection
from typing import Any

from .entries import Entries, Entry
from .instructions import Instruction, Instructions
from .rule import Need
from .series import Body


@dataclasses.dataclass(frozen=True)
class Memory:
    """What passes from order to order, by the numbers of values.

    `held` does not change after order 0; `histories` are the series that later orders read, each
    `[orders, *value]` or a list of coefficients.
    """

    held: dict[int, Any]
    histories: dict[int, Body]


class MemoryPlan:
    """Which instructions the orders past 0 take, and what they read.

    - `steps`: the instructions, in order.
    - `recalled`: the series whose histories are read. `histories` are those of them that the memory
      keeps; the others are `given` from outside.
    - `held`: the values without a series that steps read, but for the program's constants.
    - `entries`: the series that are read out of the history of an array that holds them.
    """

    def __init__(self, program: Instructions, given: Collection[int]):
        needed, self.recalled = _needed(program)
        self.steps = [
            one for one in program.all if one.rule is not None and needed.intersection(one.outs)
        ]
        self.entries = _entries(program, self.recalled, given)
        self.recalled -= self.entries.keys()
        self.recalled |= {entry.source for entry in self.entries.values()}
        self.histories = sorted(self.recalled.difference(given))
        read = {
            number for one in self.steps for number, need in one.reads if need is not Need.NOTHING
        }
        self.held = sorted(read - program.series - program.constants.keys())


def _needed(program: Instructions) -> tuple[set[int], set[int]]:
    """The series that the outputs depend on, and those of them whose history is read."""
    source: dict[int, Instruction] = {out: one for one in program.all for out in one.outs}
    recalled: set[int] = set()
    needed: set[int] = set()
    pending = list(program.series.intersection(program.outputs))
    while pending:
        number = pending.pop()
        if number in needed:
            continue
        needed.add(number)
        if number not in source:
            continue
        recalled.update(source[number].remembers)
        for operand, need in source[number].reads:
            if operand in program.series and need is not Need.NOTHING:
                pending.append(operand)
                if need is Need.HISTORY:
                    recalled.add(operand)
    return needed, recalled


def _entries(
    program: Instructions, recalled: Collection[int], given: Collection[int]
) -> dict[int, Entry]:
    """The series whose history is read out of that of the array that they are entries of.

    One history of the array is worth it where half of its entries are read.
    """
    entries = Entries(program.avals)
    for instruction in program.all:
        entries.see(instruction.equation)
    found: dict[int, list[int]] = {}
    for number, entry in entries.found.items():
        if number in recalled and entry.source in program.series - entries.found.keys():
            found.setdefault(entry.source, []).append(number)
    return {
        number: entries.found[number]
        for source, numbers in found.items()
        for number in numbers
        if source in recalled
        or source in given
        or 2 * len(numbers) >= program.avals[source].shape[0]
    }
