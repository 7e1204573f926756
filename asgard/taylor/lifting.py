"""Lifting a program from values to power series along one dimension, one order at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..jaxprs.fences import cut, stored
from ..jaxprs.own_functions import traceable
from ..jaxprs.program import Program, trace
from .chains import cut_in_step, cuts
from .instructions import Instructions, check_results
from .memory import Memory, MemoryPlan
from .packing import packed
from .rule import Need
from .series import Body, Order, Series


def lift(
    fn: Callable[..., Sequence[Array]],
    avals: Sequence[jax.ShapeDtypeStruct],
    series: Sequence[bool],
    given: Sequence[bool],
) -> "Lifted":
    """A function of values as one of series, along one dimension.

    This is the first half of the way from a circuit to a compiled run; `jaxprs` has the second.

        fn                 a function of arrays
         |  jax.make_jaxpr
        jaxpr
         |  program        calls inlined, unused equations dropped: a flat list
        Program
         |  packing        equations that do the same thing run as one, on arrays
        Program
         |  instructions   the rule of each equation; rewritten ones inlined, equal ones once
        Instructions
         |  memory         what later orders read of earlier ones
        Lifted             start and step: functions of arrays again, for `jax.make_jaxpr`

    Both functions are pure JAX. With dimensions left, they go the same way along the next one;
    with none left, they are the body of the run's scan.

    **Arguments:** `avals` are the types of the inputs, without axes for orders. `series` and
    `given` are as in `Lifted`.
    """
    return Lifted(packed(trace(fn, *avals), series), series, given)


class Lifted:
    """A program along one dimension.

    **Arguments:**

    - `program`: what to lift.
    - `series`: for each input, whether it is a series (else it is constant along the dimension).
      Integers and truth values are those of order 0.
    - `given`: for each input, whether every step is handed the whole series, as for an input known
      beforehand; the memory then keeps no history of it.
    """

    def __init__(self, program: Program, series: Sequence[bool], given: Sequence[bool]):
        self.inputs = program.inputs
        self.given = {number for number, flag in zip(program.inputs, given, strict=True) if flag}
        self.instructions = Instructions(program, series)
        self.memory = MemoryPlan(self.instructions, self.given)
        self.series, self.avals = self.instructions.series, self.instructions.avals
        self.output_is_series = [number in self.series for number in self.instructions.outputs]
        chain = [(one.equation, one.outs) for one in self.instructions.all]
        kept = {*self.memory.histories, *self.memory.held}
        self._cuts = cuts(chain, kept, self.instructions.outputs)
        self._step_cuts = cuts([(one.equation, one.outs) for one in self.memory.steps], (), ())

    def start(self, inputs: Sequence[Any]) -> tuple[list[Array], Memory]:
        """Order 0: the program's outputs, and the memory for the orders to come."""
        values = dict(self.instructions.constants)
        values.update(zip(self.inputs, inputs, strict=True))
        for instruction in self.instructions.all:
            instruction.start(values)
            for number in self._cuts.intersection(instruction.equation.outs):
                values[number] = cut(values[number])
        memory = Memory(
            held={number: jnp.asarray(values[number]) for number in self.memory.held},
            histories={number: [jnp.asarray(values[number])] for number in self.memory.histories},
        )
        return [jnp.asarray(values[number]) for number in self.instructions.outputs], memory

    def step(
        self, n: Order, memory: Memory, inputs: Sequence[Any], given: dict[int, Body]
    ) -> tuple[list[Array], Memory]:
        """Coefficient n >= 1 of the outputs, and the memory with order n.

        **Arguments:** `inputs` are the coefficients n (ignored for constants); `given` has the
        whole series of the inputs that are known beforehand, by their index.
        """
        outputs, series = self._advance(n, memory, inputs, given)
        histories = {number: series[number].body for number in self.memory.histories}
        return outputs, Memory(memory.held, histories)

    def coefficients(
        self, n: Order, memory: Memory, inputs: Sequence[Any], given: dict[int, Body]
    ) -> tuple[list[Array], dict[int, Array]]:
        """As `step`, with coefficient n alone of each history."""
        outputs, series = self._advance(n, memory, inputs, given)
        return outputs, {number: series[number].current for number in self.memory.histories}

    def _advance(
        self, n: Order, memory: Memory, inputs: Sequence[Any], given: dict[int, Body]
    ) -> tuple[list[Array], dict[int, Series]]:
        held = {**self.instructions.constants, **memory.held}
        series = {number: Series(body) for number, body in memory.histories.items()}
        for index, body in given.items():
            series[self.inputs[index]] = Series(body)
        for number, entry in self.memory.entries.items():
            series[number] = Series(series[entry.source].whole, entry=entry.index)

        def operand(number: int, need: Need) -> Any:
            if number in self.series:
                return series.get(number)
            return None if need is Need.NOTHING else held[number]

        for number, coefficient in zip(self.inputs, inputs, strict=True):
            if number in self.series:
                assert coefficient is not None
                # Where a chain is cut, its first value is cut from the loop's rows.
                cut_off = cut_in_step(n, coefficient) if self._step_cuts else coefficient
                self._learn(series, n, number, cut_off)
        for instruction in self.memory.steps:
            assert instruction.rule is not None
            operands = [operand(number, need) for number, need in instruction.reads]
            before = [series[number] for number in instruction.remembers]
            with traceable(f"the rule of {instruction.equation.name!r}: step"):
                after = instruction.rule.step(n, operands, before)
            types = [self.avals[number] for number in instruction.outs]
            check_results(instruction.equation, "step", after, types)
            for number, coefficient in zip(instruction.outs, after, strict=True):
                cuts_it = number in self._step_cuts
                cut_off = cut_in_step(n, coefficient) if cuts_it else coefficient
                self._learn(series, n, number, cut_off)
        outputs = [
            series[number].current
            if number in self.series
            else jnp.zeros(self.avals[number].shape, self.avals[number].dtype)
            for number in self.instructions.outputs
        ]
        if isinstance(n, int):
            outputs = list(map(stored, outputs))
        return outputs, series

    def _learn(self, series: dict[int, Series], n: Order, number: int, coefficient: Array) -> None:
        """Adds coefficient n of a value to what is known of all."""
        entries, recalled = self.memory.entries, self.memory.recalled
        if number in entries:
            whole = series[entries[number].source].whole
            series[number] = Series(whole, coefficient, entries[number].index)
        elif number in self.given or number not in recalled:
            known = series[number].body if number in series else []
            series[number] = Series(known, coefficient)
        else:
            if isinstance(n, int):
                coefficient = stored(coefficient)  # many later orders read it
            series[number] = series[number].append(n, coefficient)
