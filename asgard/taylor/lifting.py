"""Lifting a program from values to power series along one dimension, one order at a time.

`Lifted.start` is the program at order 0: the function itself. `Lifted.step` is coefficient n of
everything from what the memory holds of the orders before. Both are pure, so a lifted program is a
JAX program again and can be lifted along the next dimension.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..errors import CircuitError
from ..jaxprs.fences import cut
from ..jaxprs.program import Equation, Program, literal_key, trace
from .chains import cut_in_step, cuts
from .entries import Entries, Entry
from .rules import table as rules
from .rules.recurrences import TWINS
from .rules.rule import Application, Memory, Need, Rule, integral
from .series import Body, Order, Series


@dataclasses.dataclass(frozen=True)
class _Instruction:
    """An equation and the rule of its series, None where its value at order 0 is all there is.

    `outs` are the outputs that are series and the rule's auxiliary series, `held` the numbers of
    the values that the rule holds.
    """

    equation: Equation
    rule: Rule | None = None
    outs: tuple[int, ...] = ()
    auxiliary: tuple[int, ...] = ()
    held: tuple[int, ...] = ()

    @property
    def reads(self) -> list[tuple[int, Need]]:
        """The operands and held values, with what the rule's steps need of each."""
        assert self.rule is not None
        needs = self.rule.needs or (Need.HISTORY,) * len(self.equation.ins)
        return [
            *zip(self.equation.ins, needs, strict=True),
            *((number, Need.CURRENT) for number in self.held),
        ]

    @property
    def remembers(self) -> tuple[int, ...]:
        """Of the series that the rule gives, those that it reads the history of."""
        assert self.rule is not None
        return self.outs if self.rule.own else self.auxiliary

    def start(self, values: dict[int, Any]) -> None:
        """Adds the values at order 0."""
        operands = [values[number] for number in self.equation.ins]
        start = self.equation.bind if self.rule is None else self.rule.start
        numbers = (*self.equation.outs, *self.auxiliary, *self.held)
        values.update(zip(numbers, start(*operands), strict=True))


class Lifted:
    """A program along one dimension.

    **Arguments:**

    - `program`: what to lift.
    - `series`: for each input, whether it is a series (else it is constant along the dimension).
      Integers and truth values are those of order 0.
    - `given`: for each input, whether the whole series is handed to every step, as for an input
      known beforehand; the memory then keeps no history of it.
    """

    def __init__(self, program: Program, series: Sequence[bool], given: Sequence[bool]):
        self.program = program
        self.constants = dict(program.constants)
        self.avals = dict(program.avals)
        self.series = {
            number
            for number, flag in zip(program.inputs, series, strict=True)
            if flag and self._is_inexact(number)
        }
        self.given = {number for number, flag in zip(program.inputs, given, strict=True) if flag}
        self.instructions: list[_Instruction] = []
        self._found: dict[Hashable, tuple[int, ...]] = {}  # the outputs of equations, by their key
        self._same: dict[int, int] = {}  # numbers that stand for the value of another
        self._bits: set[int] = set()  # what comes from the bits of a series
        self._literals: dict[Hashable, int] = {}
        for number, value in self.constants.items():
            self._literals.setdefault(literal_key(value, self.avals[number]), number)
        for equation in program.equations:
            self._add(equation)
        self.outputs = self._resolve(program.outputs)
        self.output_is_series = [number in self.series for number in self.outputs]
        self.steps, self.recalled = self._needed()
        self.entries = self._find_entries()
        self.recalled -= self.entries.keys()
        self.recalled |= {entry.source for entry in self.entries.values()}
        self.histories = sorted(self.recalled - self.given)
        self.held = self._find_held()
        kept = {*self.histories, *self.held}
        self.cuts = cuts([(i.equation, i.outs) for i in self.instructions], kept, self.outputs)
        self.step_cuts = cuts([(i.equation, i.outs) for i in self.steps], (), ())

    def start(self, inputs: Sequence[Any]) -> tuple[list[Array], Memory]:
        """Order 0: the program's value, and the memory for the orders to come."""
        values = dict(self.constants)
        values.update(zip(self.program.inputs, inputs, strict=True))
        for instruction in self.instructions:
            instruction.start(values)
            for number in self.cuts.intersection(instruction.equation.outs):
                values[number] = cut(values[number])
        memory = Memory(
            held={number: jnp.asarray(values[number]) for number in self.held},
            histories={number: [jnp.asarray(values[number])] for number in self.histories},
        )
        return [jnp.asarray(values[number]) for number in self.outputs], memory

    def step(
        self, n: Order, memory: Memory, inputs: Sequence[Any], given: dict[int, Body]
    ) -> tuple[list[Array], Memory]:
        """Coefficient n of the outputs, n >= 1, and the memory with order n.

        `inputs` are coefficients n (ignored for constants); `given` has the whole series of the
        inputs that are known beforehand, by position.
        """
        outputs, series = self._advance(n, memory, inputs, given)
        return outputs, Memory(memory.held, {name: series[name].body for name in self.histories})

    def coefficients(
        self, n: Order, memory: Memory, inputs: Sequence[Any], given: dict[int, Body]
    ) -> tuple[list[Array], dict[int, Array]]:
        """As `step`, with coefficient n alone of each history."""
        outputs, series = self._advance(n, memory, inputs, given)
        return outputs, {name: series[name].current for name in self.histories}

    def _advance(
        self, n: Order, memory: Memory, inputs: Sequence[Any], given: dict[int, Body]
    ) -> tuple[list[Array], dict[int, Series]]:
        held = {**self.constants, **memory.held}
        series = {number: Series(body) for number, body in memory.histories.items()}
        for position, body in given.items():
            series[self.program.inputs[position]] = Series(body)

        def learn(number: int, coefficient: Array) -> None:
            if number in self.entries:
                entry = self.entries[number]
                series[number] = Series(series[entry.source].whole, coefficient, entry.place)
            elif number in self.given or number not in self.recalled:
                known = series[number].body if number in series else []
                series[number] = Series(known, coefficient)
            else:
                series[number] = series[number].append(n, coefficient)

        def operand(number: int, need: Need) -> Any:
            if number in self.series:
                return series.get(number)
            return None if need is Need.NOTHING else held[number]

        for number, coefficient in zip(self.program.inputs, inputs, strict=True):
            if number in self.series:
                assert coefficient is not None
                # Where a chain is cut, its first value is cut from the loop's rows.
                learn(number, cut_in_step(n, coefficient) if self.step_cuts else coefficient)
        for instruction in self.steps:
            assert instruction.rule is not None
            operands = [operand(number, need) for number, need in instruction.reads]
            before = [series[number] for number in instruction.remembers]
            after = instruction.rule.step(n, operands, before)
            for number, coefficient in zip(instruction.outs, after, strict=True):
                cuts_it = number in self.step_cuts
                learn(number, cut_in_step(n, coefficient) if cuts_it else coefficient)
        outputs = [
            series[number].current if number in self.series else self._zeros(number)
            for number in self.outputs
        ]
        return outputs, series

    def _add(self, equation: Equation) -> None:
        """Finds the rule of one equation, unless an equal one has been met."""
        equation = dataclasses.replace(equation, ins=self._resolve(equation.ins))
        key = equation.key
        if key is not None and key in self._found:
            self._same.update(zip(equation.outs, self._found[key], strict=True))
            return
        self._add_new(equation)
        if key is not None:
            self._found.setdefault(key, self._resolve(equation.outs))

    def _add_new(self, equation: Equation) -> None:
        if equation.name in rules.BROADCASTING:
            equation = self._spread(equation)
        application = Application(
            equation,
            avals=tuple(self.avals[number] for number in equation.ins),
            carried=tuple(number in self.series for number in equation.ins),
            values=tuple(self.constants.get(number) for number in equation.ins),
            lift=Lifted,
        )
        self._follow_bits(equation, any(application.carried))
        if rules.is_constant(application, [self.avals[number] for number in equation.outs]):
            self.instructions.append(_Instruction(equation))
            return
        if equation.name in rules.DERIVATIVES:
            (slope,) = self._inline(rules.DERIVATIVES[equation.name], equation.ins)
            whole = dataclasses.replace(equation, ins=(*equation.ins, slope))
            self._add_rule(whole, integral(equation))
            return
        found = rules.find(application)
        if isinstance(found, Rule):
            self._add_rule(equation, found)
        else:
            outs = self._inline(found, equation.ins)
            self._same.update(zip(equation.outs, outs, strict=True))

    def _follow_bits(self, equation: Equation, carried: bool) -> None:
        """Refuses to put a number together again from the bits of a series, which are frozen."""
        casts = equation.name == "bitcast_convert_type"
        if not (casts and carried) and not self._bits.intersection(equation.ins):
            return
        for out in equation.outs:
            if casts and self._is_inexact(out):
                raise CircuitError(
                    "a function that changes the bits of a number, as frexp does, has no Taylor "
                    "series; say it with arithmetic"
                )
            if self.avals[out].dtype != bool:
                self._bits.add(out)

    def _spread(self, equation: Equation) -> Equation:
        """The equation with all its series of one shape, that of the output."""
        shape = self.avals[equation.outs[0]].shape
        ins = [
            self._inline(lambda x: jnp.broadcast_to(x, shape), (number,))[0]
            if number in self.series and self.avals[number].shape != shape
            else number
            for number in equation.ins
        ]
        return dataclasses.replace(equation, ins=tuple(ins))

    def _add_rule(self, equation: Equation, rule: Rule) -> None:
        more: list[int] = []
        if rule.extra:
            results = jax.eval_shape(rule.start, *(self.avals[number] for number in equation.ins))
            more = [self._new(aval) for aval in results[len(equation.outs) :]]
        flags = rule.outputs or (True,) * len(equation.outs)
        auxiliary = tuple(more[: len(more) - rule.held])
        series = [out for out, flag in zip(equation.outs, flags, strict=True) if flag]
        instruction = _Instruction(
            equation, rule, (*series, *auxiliary), auxiliary, tuple(more[len(auxiliary) :])
        )
        self.series.update(instruction.outs)
        self.instructions.append(instruction)
        if equation.name in TWINS and equation.key is not None:
            twin = (TWINS[equation.name], *equation.key[1:])
            self._found.setdefault(twin, auxiliary[:1])

    def _inline(self, fn: Callable[..., Any], ins: Sequence[int]) -> tuple[int, ...]:
        """Adds the equations of a function of the values `ins`; its outputs' numbers."""

        def run(*values: Any) -> Sequence[Any]:
            results = fn(*values)
            return results if isinstance(results, tuple | list) else (results,)

        program = trace(run, *(self.avals[number] for number in ins))
        numbers = dict(zip(program.inputs, ins, strict=True))
        for number, value in program.constants.items():
            numbers[number] = self._constant(value, program.avals[number])
        for equation in program.equations:
            numbers.update((out, self._new(program.avals[out])) for out in equation.outs)
            renumbered = dataclasses.replace(
                equation,
                ins=tuple(numbers[number] for number in equation.ins),
                outs=tuple(numbers[number] for number in equation.outs),
            )
            self._add(renumbered)
        return self._resolve([numbers[number] for number in program.outputs])

    def _constant(self, value: Any, aval: Any) -> int:
        key = literal_key(value, aval)
        if key is not None and key in self._literals:
            return self._literals[key]
        number = self._new(aval)
        self.constants[number] = value
        self._literals.setdefault(key, number)
        return number

    def _resolve(self, numbers: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._same.get(number, number) for number in numbers)

    def _needed(self) -> tuple[list[_Instruction], set[int]]:
        """The instructions that orders past 0 take, and the series whose history they read."""
        needed = self.series.intersection(self.outputs)
        recalled: set[int] = set()
        steps: list[_Instruction] = []
        for instruction in reversed(self.instructions):
            if instruction.rule is None or not needed.intersection(instruction.outs):
                continue
            steps.append(instruction)
            recalled.update(instruction.remembers)
            for number, need in instruction.reads:
                if number in self.series and need is not Need.NOTHING:
                    needed.add(number)
                    if need is Need.HISTORY:
                        recalled.add(number)
        return steps[::-1], recalled

    def _find_entries(self) -> dict[int, Entry]:
        """The values whose history is read out of that of what they are entries of.

        One history of all entries is worth it where half of them are read.
        """
        entries = Entries(self.avals)
        for instruction in self.instructions:
            entries.see(instruction.equation)
        found: dict[int, list[int]] = {}
        for number, entry in entries.found.items():
            if number in self.recalled and entry.source in self.series - entries.found.keys():
                found.setdefault(entry.source, []).append(number)
        kept = self.recalled | self.given
        return {
            number: entries.found[number]
            for source, numbers in found.items()
            for number in numbers
            if source in kept or 2 * len(numbers) >= self.avals[source].shape[0]
        }

    def _find_held(self) -> list[int]:
        """The values without a series that steps read: all but the constants of the program."""
        read = {
            number
            for instruction in self.steps
            for number, need in instruction.reads
            if need is not Need.NOTHING
        }
        return sorted(read - self.series - set(self.constants))

    def _is_inexact(self, number: int) -> bool:
        return jnp.issubdtype(self.avals[number].dtype, jnp.inexact)

    def _zeros(self, number: int) -> Array:
        return jnp.zeros(self.avals[number].shape, self.avals[number].dtype)

    def _new(self, aval: Any) -> int:
        number = len(self.avals)
        self.avals[number] = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        return number
