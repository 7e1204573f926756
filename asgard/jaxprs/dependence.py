"""Which entries of a program's output depend on which entries of an input.

The walk goes into loops and branches. It never says too little: where it does not follow, each
result counts as reading all.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Bool

from .by_numpy import bind
from .concrete import is_concrete
from .primitives import traits
from .program import Equation, Program, from_jaxpr, scan_counts, trace
from .reads import Operand, everything, flags, has_derivative, reads, singles, union

# Loops are followed turn by turn, or until their sets grow no more, while a walk takes so many
# seconds, by an estimate that is the same everywhere, and for these turns at least.
SECONDS = 0.15
TURNS = 4
# What an equation takes, and what 64 bits of the sets of its results take (measured).
EQUATION = 1e-5
WORD = 1e-9


def dependence(program: Program, number: int) -> Bool[np.ndarray, "outputs inputs"]:
    """Which entries of the only output depend on which entries of the input of a number."""
    (size,) = program.avals[number].shape
    operands = [_blank(program.avals[key]) for key in program.inputs]
    own = singles(size)
    operands[program.inputs.index(number)] = _blank(program.avals[number], own)
    with jax.ensure_compile_time_eval():
        (output,) = _Walk(own.shape[-1]).run(program, operands)
    if output.depends is None:
        return np.zeros((*output.shape, size), bool)
    return flags(output.depends, size)


def _blank(aval: Any, depends: Any = None) -> Operand:
    """A value that is not known. What has no entries depends on nothing."""
    return Operand(tuple(aval.shape), aval.dtype, depends if math.prod(aval.shape) else None)


def _known(aval: Any, value: Any) -> Operand:
    return Operand(tuple(aval.shape), aval.dtype, None, np.asarray(value, aval.dtype))


def _are_keys(aval: Any) -> bool:
    """Whether values of a type are keys of random numbers, which NumPy has not."""
    return jnp.issubdtype(aval.dtype, jax.dtypes.extended)


def _forgotten(operand: Operand) -> Operand:
    """Without its value, which may be another in another turn."""
    return dataclasses.replace(operand, value=None)


class _Walk:
    """A walk through a program and the jaxprs that it holds.

    Sets take so many `words`. `left` are the seconds that are left to it.
    """

    def __init__(self, words: int):
        self.words = words
        self.programs: dict[tuple[Hashable, ...], tuple[Any, Program]] = {}
        self.costs: dict[tuple[int, int], float] = {}
        self.left = SECONDS

    def run(self, program: Program, operands: Sequence[Operand]) -> list[Operand]:
        """The outputs."""
        found = dict(zip(program.inputs, operands, strict=True))
        for key, value in program.constants.items():
            aval = program.avals[key]
            known = is_concrete(value) and not _are_keys(aval)
            found[key] = _known(aval, value) if known else _blank(aval)
        last = {key: one for one in program.equations for key in one.ins}
        for equation in program.equations:
            ins = [found[key] for key in equation.ins]
            avals = [program.avals[key] for key in equation.outs]
            found.update(zip(equation.outs, self.results(equation, ins, avals), strict=True))
            for key in {*equation.ins}.difference(program.outputs):
                if last[key] is equation:  # the sets of a large system take much memory
                    del found[key]
        return [found[key] for key in program.outputs]

    def results(
        self, equation: Equation, operands: Sequence[Operand], avals: Sequence[Any]
    ) -> list[Operand]:
        """The results of an equation, which have the types `avals`."""
        self.left -= self.own_cost(avals)
        if all(one.value is not None for one in operands) and not any(map(_are_keys, avals)):
            values = bind(equation, [operand.value for operand in operands])
            return list(map(_known, avals, values))
        if all(operand.depends is None for operand in operands):
            return list(map(_blank, avals))
        if equation.function is not None:
            body = equation.params[traits(equation.primitive.name).calls]
            return self.run(self.program(body), operands)
        if equation.name in _INNER:
            return _INNER[equation.name](self, equation, operands, avals)
        return list(map(_blank, avals, reads(equation, operands, avals)))

    def program(self, jaxpr: Any) -> Program:
        """The program of a jaxpr that an equation holds."""
        return self._kept(jaxpr, (), lambda: from_jaxpr(jaxpr))

    def side_by_side(self, jaxpr: Any, constants: int, turns: int) -> Program:
        """So many turns of a scan that carries nothing, as one program."""

        def made() -> Program:
            avals = [var.aval for var in jaxpr.jaxpr.invars]
            axes = [None if index < constants else 0 for index in range(len(avals))]
            shapes = [
                aval.shape if axis is None else (turns, *aval.shape)
                for aval, axis in zip(avals, axes, strict=True)
            ]
            types = [
                jax.ShapeDtypeStruct(shape, aval.dtype)
                for shape, aval in zip(shapes, avals, strict=True)
            ]
            return trace(jax.vmap(jaxpr_as_fun(jaxpr), in_axes=axes), *types)

        return self._kept(jaxpr, (constants, turns), made)

    def derivative(self, equation: Equation) -> Program:
        """The program of `_tangents`."""
        avals = [var.aval for var in equation.params["call_jaxpr"].jaxpr.invars]
        types = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
        given = [*types, *filter(has_derivative, types)]
        tangents = functools.partial(_tangents, equation, list(map(has_derivative, types)))
        made = functools.partial(trace, tangents, *given)
        return self._kept(equation.params["call_jaxpr"], ("tangents",), made)

    def _kept(self, jaxpr: Any, more: tuple[Hashable, ...], made: Callable[[], Program]) -> Program:
        """A program that is made once. While its jaxpr is held no other has its id."""
        key = (id(jaxpr), *more)
        if key not in self.programs:
            self.programs[key] = jaxpr, made()
        return self.programs[key][1]

    def turns(self, *programs: Program) -> int:
        """How many turns of a loop of these programs are followed, with half of what is left."""
        return max(TURNS, int(self.left / 2 / sum(map(self.cost, programs))))

    def cost(self, program: Program, times: int = 1) -> float:
        """Seconds that a walk takes, by an estimate; with `times` as many entries in each value.

        Most loops of unknown length settle in few turns.
        """
        key = id(program), times
        if key not in self.costs:
            total = EQUATION
            for equation in program.equations:
                total += self.own_cost([program.avals[one] for one in equation.outs], times)
                if equation.name in _HELD:
                    held = map(self.program, _HELD[equation.name](equation.params))
                    turns = {"while": TURNS, "scan": equation.params.get("length")}
                    total += turns.get(equation.name, 1) * sum(
                        self.cost(one, times) for one in held
                    )
            self.costs[key] = total
        return self.costs[key]

    def own_cost(self, avals: Sequence[Any], times: int = 1) -> float:
        """That of an equation itself, by the types of its results."""
        return EQUATION + WORD * self.words * times * sum(math.prod(aval.shape) for aval in avals)


def _cond(
    walk: _Walk, equation: Equation, operands: Sequence[Operand], avals: Sequence[Any]
) -> list[Operand]:
    """The branch that is chosen, if it is known, or what all depend on together."""
    which, *given = operands
    branches = equation.params["branches"]
    if which.value is not None:
        branch = branches[np.clip(which.value, 0, len(branches) - 1)]
        return walk.run(walk.program(branch), given)
    found = [walk.run(walk.program(branch), given) for branch in branches]
    together = zip(avals, zip(*found, strict=True), strict=True)
    return [_blank(aval, union(each, aval.shape)) for aval, each in together]


def _with_own_derivative(
    walk: _Walk, equation: Equation, operands: Sequence[Operand], avals: Sequence[Any]
) -> list[Operand]:
    """What the derivative reads that a function under `jax.custom_jvp` has of its own."""
    primals = [dataclasses.replace(operand, depends=None) for operand in operands]
    tangents = [_forgotten(operand) for operand in operands if has_derivative(operand)]
    found = iter(walk.run(walk.derivative(equation), [*primals, *tangents]))
    return [_blank(aval, next(found).depends if has_derivative(aval) else None) for aval in avals]


def _tangents(equation: Equation, moves: Sequence[bool], *values: Any) -> list[Any]:
    """The tangents of an equation's results that have some, from all operands and then the tangents
    of those that move."""
    operands = values[: len(moves)]

    def results(*moving: Any) -> list[Any]:
        rest = iter(moving)
        found = equation.bind(
            *(next(rest) if flag else x for x, flag in zip(operands, moves, strict=True))
        )
        return list(filter(has_derivative, found))

    moving = tuple(x for x, flag in zip(operands, moves, strict=True) if flag)
    return jax.jvp(results, moving, values[len(moves) :])[1]


def _while(
    walk: _Walk, equation: Equation, operands: Sequence[Operand], avals: Sequence[Any]
) -> list[Operand]:
    """Turn by turn while it is known to go on, then as after any number of turns.

    What decides whether it goes on has no derivative.
    """
    params = equation.params
    first, last = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    condition, body = walk.program(params["cond_jaxpr"]), walk.program(params["body_jaxpr"])
    turns, carry = walk.turns(condition, body), list(operands[last:])

    def turn(carry: list[Operand]) -> list[Operand]:
        return walk.run(body, [*operands[first:last], *carry])

    for _ in range(turns):
        (goes_on,) = walk.run(condition, [*operands[:first], *carry])
        if goes_on.value is None or goes_on.shape:  # a batch has a flag for each of its runs
            break
        if not goes_on.value:
            return carry
        carry = turn(carry)
    settled = _settled(turn, carry, turns)
    return list(map(_blank, avals, everything(operands, avals))) if settled is None else settled


def _settled(
    turn: Callable[[list[Operand]], list[Operand]], carry: Sequence[Operand], turns: int
) -> list[Operand] | None:
    """The results of a turn on a carry that has all that turns add. None if they go on adding."""
    now = list(map(_forgotten, carry))
    for _ in range(turns):
        results = turn(now)
        after = [
            dataclasses.replace(one, depends=union([one, other], one.shape))
            for one, other in zip(now, results, strict=False)
        ]
        if all(map(_is_same, now, after)):
            return [*now, *map(_forgotten, results[len(now) :])]
        now = after
    return None


def _is_same(one: Operand, other: Operand) -> bool:
    if one.depends is None or other.depends is None:
        return one.depends is other.depends
    return np.array_equal(one.depends, other.depends)


def _scan(
    walk: _Walk, equation: Equation, operands: Sequence[Operand], avals: Sequence[Any]
) -> list[Operand]:
    """Turn by turn, or all turns at once where none reads another; else as if rows were alike."""
    params = equation.params
    length, body = params["length"], walk.program(params["jaxpr"])
    constants, carries = scan_counts(params)
    fixed, carry = operands[:constants], operands[constants : constants + carries]
    stacks = operands[constants + carries :]
    if length and stacks and not carries and walk.cost(body, length) < walk.left / 2:
        return walk.run(walk.side_by_side(params["jaxpr"], constants, length), operands)
    if length <= walk.turns(body):
        rows: list[list[Operand]] = [[]] * length
        for index in reversed(range(length)) if params["reverse"] else range(length):
            results = walk.run(body, [*fixed, *carry, *(_row(one, index) for one in stacks)])
            carry, rows[index] = results[:carries], results[carries:]
        columns = zip(*rows, strict=True) if length else [[]] * (len(avals) - carries)
        return [*carry, *map(_stacked, avals[carries:], columns)]
    alike = list(map(_any_row, stacks))
    settled = _settled(
        lambda carry: walk.run(body, [*fixed, *carry, *alike]), carry, walk.turns(body)
    )
    if settled is None:
        return list(map(_blank, avals, everything(operands, avals)))
    stacked = zip(avals[carries:], settled[carries:], strict=True)
    return [*settled[:carries], *(_stacked(aval, [row] * length) for aval, row in stacked)]


def _row(stack: Operand, index: int) -> Operand:
    depends = None if stack.depends is None else stack.depends[index]
    value = None if stack.value is None else stack.value[index]
    return Operand(stack.shape[1:], stack.dtype, depends, value)


def _any_row(stack: Operand) -> Operand:
    depends = None if stack.depends is None else np.bitwise_or.reduce(stack.depends, axis=0)
    return Operand(stack.shape[1:], stack.dtype, depends)


def _stacked(aval: Any, rows: Sequence[Operand]) -> Operand:
    if rows and all(row.value is not None for row in rows):
        return _known(aval, np.stack([row.value for row in rows]))
    some = [row.depends for row in rows if row.depends is not None]
    if not some:
        return _blank(aval)
    nothing = np.zeros_like(some[0])
    return _blank(aval, np.stack([nothing if r.depends is None else r.depends for r in rows]))


# The rule of each primitive that holds jaxprs, and the jaxprs that its parameters hold.
_INNER = {"cond": _cond, "while": _while, "scan": _scan, "custom_jvp_call": _with_own_derivative}
_HELD: dict[str, Callable[[dict[str, Any]], Sequence[Any]]] = {
    "cond": lambda params: params["branches"],
    "while": lambda params: (params["cond_jaxpr"], params["body_jaxpr"]),
    "scan": lambda params: (params["jaxpr"],),
    "custom_jvp_call": lambda params: (params["call_jaxpr"],),
}
