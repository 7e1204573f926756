"""Lifting a program from values to power series along one dimension, one order at a time.

`Lifted.start` is the program at order 0: the function itself. `Lifted.step` is coefficient n of
everything from what the memory holds of the orders before. Both are pure, so a lifted program is a
JAX program again and can be lifted along the next dimension.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..errors import CircuitError
from . import rules
from .program import Equation, Program, trace
from .series import Body, Order, Product, Series, convolve, divide

# How many operations of order 0 may follow one another before a cut.
LONGEST_CHAIN = 8


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a lifted program remembers between orders, by the numbers of values.

    `held` does not change after order 0; `histories` are the series that later orders read.
    """

    held: dict[int, Array]
    histories: dict[int, Body]


@dataclasses.dataclass(frozen=True)
class _Instruction:
    """An equation and how its coefficient n is found: `kind` and what that kind needs."""

    kind: str  # constant, frozen, linear, product, integral or recurrence
    equation: Equation
    product: Product | None = None
    recurrence: rules.Recurrence | None = None
    outs: tuple[int, ...] = ()  # of a recurrence: the outputs and its auxiliary series


class Lifted:
    """A program along one dimension.

    **Arguments:**

    - `program`: what to lift.
    - `series`: for each input, whether it is a series (else it is constant along the dimension).
    - `given`: for each input, whether the whole series is handed to every step, as for an input
      known beforehand; the memory then keeps no history of it.
    """

    def __init__(self, program: Program, series: Sequence[bool], given: Sequence[bool]):
        self.program = program
        self.constants = dict(program.constants)
        self.avals = dict(program.avals)
        self.series = {number for number, flag in zip(program.inputs, series, strict=True) if flag}
        self.given = {number for number, flag in zip(program.inputs, given, strict=True) if flag}
        self.recalled: set[int] = set()  # series whose history later orders read
        self.instructions: list[_Instruction] = []
        for equation in program.equations:
            self._add(equation)
        self.held = self._find_held()
        self.cuts = self._find_cuts()
        self.output_is_series = [number in self.series for number in program.outputs]

    def start(self, inputs: Sequence[Array]) -> tuple[list[Array], Memory]:
        """Order 0: the program's value, and the memory for the orders to come."""
        values = dict(self.constants)
        values.update(zip(self.program.inputs, inputs, strict=True))
        for instruction in self.instructions:
            equation = instruction.equation
            operands = [values[number] for number in equation.ins]
            if instruction.kind == "recurrence":
                assert instruction.recurrence is not None
                results = instruction.recurrence.start(*operands)
                values.update(zip(instruction.outs, results, strict=True))
            elif instruction.kind == "integral":
                values[equation.outs[0]] = equation.bind(operands[0])[0]
            else:
                values.update(zip(equation.outs, equation.bind(*operands), strict=True))
            for number in self.cuts.intersection(equation.outs):
                values[number] = _cut(values[number])
        memory = Memory(
            held={number: jnp.asarray(values[number]) for number in self.held},
            histories={number: [values[number]] for number in sorted(self.recalled - self.given)},
        )
        return [jnp.asarray(values[number]) for number in self.program.outputs], memory

    def step(
        self, n: Order, memory: Memory, inputs: Sequence[Array | None], given: dict[int, Body]
    ) -> tuple[list[Array], Memory]:
        """Coefficient n of the outputs, n >= 1.

        `inputs` are coefficients n (ignored for constants); `given` has the whole series of the
        inputs that are known beforehand, by position.
        """
        held = {**self.constants, **memory.held}
        state = {number: Series(body) for number, body in memory.histories.items()}
        for position, body in given.items():
            state[self.program.inputs[position]] = Series(body)
        now: dict[int, Array] = {}

        def learn(number: int, coefficient: Array) -> None:
            now[number] = coefficient
            if number in self.given:
                if number in state:
                    state[number] = Series(state[number].body, coefficient)
            elif number in self.recalled:
                state[number] = state[number].append(n, coefficient)

        for number, coefficient in zip(self.program.inputs, inputs, strict=True):
            if number in self.series:
                assert coefficient is not None
                learn(number, coefficient)
        for instruction in self.instructions:
            if instruction.kind in ("constant", "frozen"):
                continue
            if instruction.kind == "recurrence":
                self._recur(instruction, n, state, now, held)
                continue
            for number, coefficient in zip(
                instruction.equation.outs,
                _coefficients(instruction, n, state, now, held),
                strict=True,
            ):
                learn(number, coefficient)
        outputs = [
            now[number] if number in self.series else jnp.zeros_like(held[number])
            for number in self.program.outputs
        ]
        histories = {number: state[number].body for number in memory.histories}
        return outputs, Memory(memory.held, histories)

    def _recur(
        self,
        instruction: _Instruction,
        n: Order,
        state: dict[int, Series],
        now: dict[int, Array],
        held: dict[int, Any],
    ) -> None:
        assert instruction.recurrence is not None
        operands = [
            state[number] if number in self.series else held[number]
            for number in instruction.equation.ins
        ]
        before = [state[number] for number in instruction.outs]
        after = instruction.recurrence.step(n, operands, before)
        state.update(zip(instruction.outs, after, strict=True))
        now[instruction.outs[0]] = after[0].current

    def _add(self, equation: Equation) -> None:
        """Finds the rule of one equation and what it needs to remember."""
        if equation.name in rules.BROADCASTING:
            equation = self._spread(equation)
        name, ins = equation.name, equation.ins
        carried = [number in self.series for number in ins]
        if not any(carried):
            self.instructions.append(_Instruction("constant", equation))
            return
        if name in rules.REAL_ONLY and jnp.issubdtype(
            self.avals[ins[0]].dtype, jnp.complexfloating
        ):
            raise CircuitError(f"{name!r} of a complex function has no power series")
        inexact = any(jnp.issubdtype(self.avals[out].dtype, jnp.inexact) for out in equation.outs)
        if name in rules.FROZEN or not inexact or equation.params.get("y") == 0:  # x^0 is 1
            self.instructions.append(_Instruction("frozen", equation))
            return
        if _only(rules.LINEAR.get(name), carried) or (name in rules.BILINEAR and sum(carried) == 1):
            self.instructions.append(_Instruction("linear", equation))
        elif name in rules.BILINEAR:
            self.recalled.update(ins)
            product = rules.BILINEAR[name](equation.params)
            self.instructions.append(_Instruction("product", equation, product=product))
        elif name in rules.DERIVATIVES:
            (slope,) = self._inline(rules.DERIVATIVES[name], ins)
            self.recalled.update((ins[0], slope))
            integral = dataclasses.replace(equation, ins=(ins[0], slope))
            self.instructions.append(_Instruction("integral", integral))
        elif name in rules.RECURRENCES and not (
            rules.RECURRENCES[name].first_only and any(carried[1:])
        ):
            self._add_recurrence(equation)
        elif name in rules.REWRITES:
            rewrite = functools.partial(rules.REWRITES[name], **equation.params)
            self._inline(rewrite, ins, equation.outs)
        else:
            raise CircuitError(
                f"the JAX primitive {name!r} has no series rule, so a function that uses it has no "
                "Taylor series; say it with other jnp functions, or add a rule for it to the "
                "tables in asgard/taylor/rules.py"
            )
        self.series.update(equation.outs)

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

    def _add_recurrence(self, equation: Equation) -> None:
        recurrence = rules.RECURRENCES[equation.name]
        avals = jax.eval_shape(recurrence.start, *(self.avals[number] for number in equation.ins))
        auxiliary = [self._new(aval) for aval in avals[1:]]
        outs = (equation.outs[0], *auxiliary)
        self.series.update(outs)
        self.recalled.update(number for number in equation.ins if number in self.series)
        self.recalled.update(outs)
        self.instructions.append(
            _Instruction("recurrence", equation, recurrence=recurrence, outs=outs)
        )

    def _inline(
        self, fn: Callable[..., Any], ins: Sequence[int], outs: Sequence[int] | None = None
    ) -> tuple[int, ...]:
        """Adds the equations of a function of the values `ins`; its outputs' numbers."""
        program = trace(lambda *xs: (fn(*xs),), *(self.avals[number] for number in ins))
        numbers = dict(zip(program.inputs, ins, strict=True))
        if outs is not None and program.outputs[0] not in numbers:
            numbers.update(zip(program.outputs, outs, strict=True))
            outs = ()
        for number, value in program.constants.items():
            numbers[number] = self._new(program.avals[number])
            self.constants[numbers[number]] = value
        for equation in program.equations:
            for out in equation.outs:
                if out not in numbers:
                    numbers[out] = self._new(program.avals[out])
            renumbered = dataclasses.replace(
                equation,
                ins=tuple(numbers[number] for number in equation.ins),
                outs=tuple(numbers[number] for number in equation.outs),
            )
            self._add(renumbered)
        return tuple(numbers[number] for number in program.outputs)

    def _find_cuts(self) -> set[int]:
        """Where long chains of order 0 are cut.

        Every value of a chain is read twice, by the next and by its own history, and XLA's fusion
        computes the chain up to it anew for each: code and time quadratic in the chain's length.
        """
        depth: dict[int, int] = {}
        cuts: set[int] = set()
        for instruction in self.instructions:
            equation = instruction.equation
            deepest = 1 + max((depth.get(number, 0) for number in equation.ins), default=0)
            for number in {*equation.outs, *instruction.outs} & self.series:
                depth[number] = deepest % LONGEST_CHAIN
                if depth[number] == 0 and number in equation.outs:
                    cuts.add(number)
        return cuts

    def _new(self, aval: Any) -> int:
        number = len(self.avals)
        self.avals[number] = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        return number

    def _find_held(self) -> list[int]:
        """The values without a series that steps read: all but the constants of the program."""
        read: set[int] = set(self.program.outputs)
        for instruction in self.instructions:
            if instruction.kind not in ("constant", "frozen"):
                read.update(instruction.equation.ins)
        return sorted(read - self.series - set(self.constants))


def _cut(value: Array) -> Array:
    """The same value, by an operation that XLA does not fuse with what reads it."""
    return lax.cumsum(jnp.stack([value, jnp.zeros_like(value)]), axis=0)[0]


def _only(places: slice | None, carried: list[bool]) -> bool:
    """Whether all series stand where `places` allows them."""
    if places is None:
        return False
    allowed = range(len(carried))[places]
    return all(place in allowed for place, flag in enumerate(carried) if flag)


def _coefficients(
    instruction: _Instruction,
    n: Order,
    state: dict[int, Series],
    now: dict[int, Array],
    held: dict[int, Any],
) -> list[Array]:
    """Coefficient n of an equation's outputs, for all kinds but recurrences."""
    equation = instruction.equation
    if instruction.kind == "product":
        assert instruction.product is not None
        a, b = (state[number] for number in equation.ins)
        return [convolve(a, b, n, instruction.product)]
    if instruction.kind == "integral":
        u, slope = (state[number] for number in equation.ins)
        return [divide(convolve(u, slope, n, derivative=True), n)]
    return _linear(equation, now, held)


def _linear(equation: Equation, now: dict[int, Array], held: dict[int, Any]) -> list[Array]:
    places = rules.LINEAR.get(equation.name)
    if equation.name in ("add", "sub") and any(number not in now for number in equation.ins):
        left, right = equation.ins
        if left in now:
            return [now[left]]
        return [now[right] if equation.name == "add" else -now[right]]
    linear = range(len(equation.ins))[places] if places is not None else ()
    operands = []
    for place, number in enumerate(equation.ins):
        if number in now:
            operands.append(now[number])
        elif place in linear and equation.name != "div":
            operands.append(jnp.zeros_like(held[number]))
        else:
            operands.append(held[number])
    return equation.bind(*operands)
