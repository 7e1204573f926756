"""From a program to instructions: each equation with the rule of its series."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..errors import CircuitError
from ..jaxprs.own_functions import traceable
from ..jaxprs.primitives import traits
from ..jaxprs.program import Equation, Program, literal_key, trace
from .registry import Derivative, Recurrence, Rewrite, find, kind_of
from .rule import Application, Need, Rule, integral


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An equation and the rule of its series, None where order 0 holds for the whole series.

    `outs` are the numbers of the outputs that are series and then of the rule's auxiliary series,
    `held` those of the values that the rule holds, `slopes` those of the derivatives that an
    integral reads besides its operands.
    """

    equation: Equation
    rule: Rule | None = None
    outs: tuple[int, ...] = ()
    auxiliary: tuple[int, ...] = ()
    held: tuple[int, ...] = ()
    slopes: tuple[int, ...] = ()

    @property
    def reads(self) -> list[tuple[int, Need]]:
        """What the rule's steps read, and what they need of each: operands, slopes, held values."""
        assert self.rule is not None
        ins = (*self.equation.ins, *self.slopes)
        needs = self.rule.needs or (Need.HISTORY,) * len(ins)
        return [
            *zip(ins, needs, strict=True),
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


def check_results(
    equation: Equation, role: str, results: Any, types: Sequence[Any], more: bool = False
) -> None:
    """Raises `CircuitError` where a rule's function does not return arrays of these types, None for
    any type, or more of them."""
    count = len(types)
    number = f"{count} array{'s'[: count != 1]}{' or more' if more else ''}"
    if not isinstance(results, tuple | list):
        problem = f"must return {number}, in a tuple or list, not {results!r:.60}"
    elif len(results) < count or (len(results) > count and not more):
        problem = f"must return {number}, not {len(results)}"
    else:
        pairs = zip(results, types, strict=False)
        wrong = (i for i, (one, aval) in enumerate(pairs, start=1) if not _is_of_type(one, aval))
        index = next(wrong, None)
        if index is None:
            return
        found, aval = results[index - 1], types[index - 1]
        problem = f"result {index} must be {_type(aval)}, not {_type(found)}"
    raise CircuitError(f"the rule of {equation.name!r}: {role} {problem}")


def _is_of_type(value: Any, aval: Any) -> bool:
    if aval is None or not hasattr(value, "dtype"):
        return aval is None
    return value.shape == aval.shape and value.dtype == aval.dtype


def _type(value: Any) -> str:
    if not hasattr(value, "dtype"):
        return f"{value!r:.60}"
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"


class Instructions:
    """A program's equations with their rules: rewritten ones inlined, equal ones once.

    Values have numbers. `constants` are those known beforehand, `avals` the types of all, `series`
    those that are series, `outputs` what the program returns.

    **Arguments:**

    - `program`: what to read.
    - `series`: for each input, whether it is a series. Integers and truth values never are.
    """

    def __init__(self, program: Program, series: Sequence[bool]):
        self.constants = dict(program.constants)
        self.avals = dict(program.avals)
        self.series = {
            number
            for number, flag in zip(program.inputs, series, strict=True)
            if flag and self._is_inexact(number)
        }
        self.all: list[Instruction] = []
        self._found: dict[Hashable, tuple[int, ...]] = {}  # the outputs of equations, by their key
        self._same: dict[int, int] = {}  # numbers that stand for the value of another
        self._bits: set[int] = set()  # what comes from the bits of a series
        self._literals: dict[Hashable, int] = {}
        for number, value in self.constants.items():
            self._literals.setdefault(literal_key(value, self.avals[number]), number)
        for equation in program.equations:
            self._add(equation)
        self.outputs = self._resolve(program.outputs)

    def _add(self, equation: Equation) -> None:
        """Finds the rule of an equation, unless an equal one has been met."""
        equation = dataclasses.replace(equation, ins=self._resolve(equation.ins))
        key = equation.key
        if key is not None and key in self._found:
            self._same.update(zip(equation.outs, self._found[key], strict=True))
            return
        with traceable(f"the rule of {equation.name!r}"):
            self._add_new(equation)
        if key is not None:
            self._found.setdefault(key, self._resolve(equation.outs))

    def _add_new(self, equation: Equation) -> None:
        if traits(equation.name).takes_numbers:
            equation = self._spread(equation)
        application = Application(
            equation,
            avals=tuple(self.avals[number] for number in equation.ins),
            carried=tuple(number in self.series for number in equation.ins),
            values=tuple(self.constants.get(number) for number in equation.ins),
            outputs=tuple(self.avals[number] for number in equation.outs),
        )
        self._follow_bits(equation, any(application.carried))
        found = find(application)
        if found is None:
            self.all.append(Instruction(equation))
        elif isinstance(found, Rewrite):
            try:
                outs = self._inline(found.function, equation.ins)
            except RecursionError:
                raise CircuitError(
                    f"the rule of {equation.name!r}: its Rewrite uses the primitive itself, "
                    "without end"
                ) from None
            self._check_function(equation, outs)
            self._same.update(zip(equation.outs, outs, strict=True))
        elif isinstance(found, Derivative):
            self._add_integral(equation, found)
        else:
            self._add_rule(equation, found)

    def _add_integral(self, equation: Equation, derivative: Derivative) -> None:
        """Adds outputs as integrals. Their derivatives come after them, and may read them."""
        index = len(self.all)
        self.series.update(equation.outs)
        if equation.key is not None:
            self._found[equation.key] = equation.outs
        slopes = self._inline(derivative.function, (equation.ins[-1], *equation.outs))
        self._check_function(equation, slopes)
        instruction = Instruction(equation, integral(equation), equation.outs, slopes=slopes)
        self.all.insert(index, instruction)

    def _check_function(self, equation: Equation, found: Sequence[int]) -> None:
        """Raises where the values that a rule's function gave are not of the outputs' types."""
        types = [self.avals[number] for number in equation.outs]
        check_results(equation, "function", [self.avals[number] for number in found], types)

    def _add_rule(self, equation: Equation, rule: Rule) -> None:
        more: list[int] = []
        if rule.extra:
            results = jax.eval_shape(rule.start, *(self.avals[number] for number in equation.ins))
            types = [*(self.avals[number] for number in equation.outs), *(None,) * rule.held]
            check_results(equation, "start", results, types, more=True)
            more = [self._new(aval) for aval in results[len(equation.outs) :]]
        flags = rule.outputs or (True,) * len(equation.outs)
        auxiliary = tuple(more[: len(more) - rule.held])
        series = [out for out, flag in zip(equation.outs, flags, strict=True) if flag]
        instruction = Instruction(
            equation, rule, (*series, *auxiliary), auxiliary, tuple(more[len(auxiliary) :])
        )
        self.series.update(instruction.outs)
        self.all.append(instruction)
        kind = kind_of(equation.name)
        if isinstance(kind, Recurrence) and kind.twin and equation.key is not None:
            self._found.setdefault((kind.twin, *equation.key[1:]), auxiliary[:1])

    def _follow_bits(self, equation: Equation, carried: bool) -> None:
        """Refuses to make a number again of the bits of a series, which are frozen."""
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

    def _inline(self, fn: Callable[..., Any], ins: Sequence[int]) -> tuple[int, ...]:
        """Adds the equations of a function of the values `ins`; the numbers of its outputs."""

        def run(*values: Any) -> Sequence[Any]:
            results = fn(*values)
            return results if isinstance(results, tuple | list) else (results,)

        program = trace(run, *(self.avals[number] for number in ins))
        numbers = dict(zip(program.inputs, ins, strict=True))
        for number, value in program.constants.items():
            numbers[number] = self._constant(value, program.avals[number])
        for equation in program.equations:
            numbers.update((out, self._new(program.avals[out])) for out in equation.outs)
            self._add(equation.renumbered(numbers))
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

    def _is_inexact(self, number: int) -> bool:
        return jnp.issubdtype(self.avals[number].dtype, jnp.inexact)

    def _new(self, aval: Any) -> int:
        number = len(self.avals)
        self.avals[number] = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        return number
