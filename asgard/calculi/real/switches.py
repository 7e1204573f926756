"""Switches in time: when what depends on time alone takes another branch.

A step sees only the points at which it asks for the field, so it can miss a pulse between them. But
a branch says what it asks. Comparisons, `floor`, `abs` and their like have a switching function,
such as a - b for a < b, which passes zero where the branch changes. Where it depends on time alone
its zeros are found before the run, and steps end there as at breakpoints.

The search goes through the run in windows, in which the Taylor polynomials of the switching
functions hold: they are checked at points of the window. Where a switch differs at a point, or the
polynomial turns back across zero between two points, a bisection finds the two floats between which
it changes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ...circuits.stream import Stream
from ...errors import CircuitError
from ...jaxprs.kernel import part
from ...jaxprs.program import Equation, Program
from ...taylor.expansion import expand
from .adaptive import beside
from .polynomial import orders, polynomial_at

# How many switches a run may have, and how many windows the search may take.
MOST, WINDOWS = 4096, 4 * 4096
# The order of the polynomials, and by how much they may miss the functions, relative to their size.
ORDER, MISSES = 8, 1e-4
# Where in a window the functions are read: irregular, so that no period fits.
POINTS = np.sort(np.append(np.modf(0.137 + 0.6180339887498949 * np.arange(1, 16))[0], 1.0))
# An array of more entries is a table, such as the times of samples, which are breakpoints anyway.
LARGEST = 64


@dataclasses.dataclass(frozen=True)
class Guard:
    """A switching function among the values of a program.

    It is a - b, or a / b where `whole` says that the switch is at whole numbers past `shift`; b is
    None for 0, or 1. An operand is the number of a value.
    """

    a: int
    b: int | None
    whole: bool = False
    shift: float = 0.0


class Switches(eqx.Module):
    """The times of switches, `[MOST]`, infinite past the last one; which guard each is of; and the
    time up to which all are known."""

    times: Float[Array, " switches"]
    guards: Int[Array, " switches"]
    known: Float[Array, ""]


class _Search(eqx.Module):
    """A search that has come to a time; `length` is that of the next window."""

    time: Array
    length: Array
    found: Switches
    count: Array
    windows: Array


@dataclasses.dataclass(frozen=True)
class Guards:
    """The guards of a field that depend on time alone."""

    program: Program
    steps: tuple[Equation, ...]
    guards: tuple[Guard, ...]

    @classmethod
    def of(cls, field: Program) -> "Guards | None":
        """Those of a field, a program of time, state and constants; None where it has none."""
        time, _, *constants = field.inputs
        still, moving = {*constants, *field.constants}, {time}
        steps, guards = [], []
        for equation in field.equations:
            ins = set(equation.ins)
            if not ins <= still | moving:
                continue
            steps.append(equation)
            (still if ins <= still else moving).update(equation.outs)
            if not ins <= still:
                guards += _guards_of(equation, field)
        needed = _needed(steps, guards)
        if not guards or not _have_series(field, needed, guards):
            return None
        return cls(field, needed, tuple(guards))

    def values(self, time: Array, constants: Sequence[Array]) -> Array:
        """The switching functions at a time, one number for each entry of a guard.

        `constants` are those of the program that they read.
        """
        values = {**self.program.constants, self.program.inputs[0]: time}
        numbers = [self.program.inputs[2 + index] for index in self.reads]
        values.update(zip(numbers, constants, strict=True))
        for equation in self.steps:
            operands = [values[number] for number in equation.ins]
            values.update(zip(equation.outs, equation.bind(*operands), strict=True))
        return jnp.concatenate([_value(guard, values).reshape(-1) for guard in self.guards])

    def sides(self, values: Array) -> Array:
        """On which side of its switches each function is, as whole numbers."""
        whole, shift = self._kinds
        return jnp.where(whole, jnp.floor(values + shift), jnp.where(values < 0, -1.0, 0.0))

    def _stands(self, values: Array) -> Array:
        """Which functions stand on their switches."""
        whole, shift = self._kinds
        return jnp.where(whole, jnp.floor(values + shift) == values + shift, values == 0)

    @property
    def reads(self) -> list[int]:
        """Which constants of the program the guards depend on."""
        read = {number for equation in self.steps for number in equation.ins}
        read |= {number for guard in self.guards for number in (guard.a, guard.b)}
        return [i for i, number in enumerate(self.program.inputs[2:]) if number in read]

    @property
    def _kinds(self) -> tuple[np.ndarray, np.ndarray]:
        """For each entry whether it switches at whole numbers, and past which shift."""
        sizes = [self.program.avals[guard.a].size for guard in self.guards]
        sizes = [
            max(size, 1 if guard.b is None else self.program.avals[guard.b].size)
            for size, guard in zip(sizes, self.guards, strict=True)
        ]
        whole = np.repeat([guard.whole for guard in self.guards], sizes)
        return whole, np.repeat([guard.shift for guard in self.guards], sizes)

    def between(self, start: Array, end: Array, constants: Sequence[Array]) -> Switches:
        """The switches after a start and before an end, by the constants of the program.

        They move with the constants: φ(t, c) = 0 gives φₜ ṫ + φ_c ċ = 0.
        """

        @jax.custom_jvp
        def found(start: Array, end: Array, constants: list[Array]) -> tuple[Array, Array, Array]:
            switches = part(self._search, start, end, constants)
            return switches.times, switches.guards, switches.known

        @found.defjvp
        def push(primals: Any, tangents: Any) -> tuple[Any, Any]:
            (start, _, constants), (*_, moves) = primals, tangents
            times, guards, known = found(*primals)
            safe = jnp.where(jnp.isfinite(times), times, start)

            def shift(time: Array, guard: Array) -> Array:
                slope = jax.jvp(
                    lambda t: self.values(t, constants), (time,), (jnp.ones_like(time),)
                )
                rate = jax.jvp(lambda c: self.values(time, c), (constants,), (moves,))
                return -rate[1][guard] / slope[1][guard]

            moved = jnp.where(jnp.isfinite(times), jax.vmap(shift)(safe, guards), 0)
            numbers = np.zeros(guards.shape, jax.dtypes.float0)
            return (times, guards, known), (moved, numbers, jnp.zeros_like(known))

        return Switches(*found(start, end, [constants[index] for index in self.reads]))

    def _search(self, start: Array, end: Array, constants: list[Array]) -> Switches:
        direction = jnp.sign(end - start)

        def unfinished(now: _Search) -> Array:
            goes_on = direction * (end - now.time) > 0
            return goes_on & (now.count < MOST) & (now.windows < WINDOWS)

        def window(now: _Search) -> _Search:
            return self._window(now, end, direction, constants)

        found = Switches(
            jnp.full(MOST, direction * jnp.inf, start.dtype), jnp.zeros(MOST, jnp.int32), start
        )
        zero = jnp.zeros((), jnp.int32)
        # At the start itself a function may stand on its switch.
        begun = _Search(beside(start, direction), jnp.abs(end - start) / 16, found, zero, zero)
        last = lax.while_loop(unfinished, window, begun)
        return dataclasses.replace(last.found, known=last.time)

    def _window(
        self, now: _Search, end: Array, direction: Array, constants: list[Array]
    ) -> _Search:
        """One window: to its end, to its first switch, or a shorter one next."""
        length = lax.min(now.length, direction * (end - now.time))
        offsets = direction * length * POINTS.astype(length.dtype)
        times = jnp.where(POINTS < 1, now.time + offsets, end)
        times = jnp.where((POINTS < 1) | (length < now.length), times, now.time + offsets)
        series = self._series(now.time, constants)
        begin = series[0]
        read = lax.map(lambda time: self.values(time, constants), times)
        expected = polynomial_at(series[:, None], offsets[:, None])
        slopes = polynomial_at((series * orders(series))[1:, None], offsets[:, None])
        flipped = self.sides(read) != self.sides(begin)[None]
        changed = jnp.any(flipped, axis=1)
        turns = self._turns(begin, series, slopes, offsets, now.time, constants)
        scale = jnp.max(jnp.abs(expected), axis=0) + jnp.abs(begin)
        missed = jnp.abs(read - expected) > MISSES * scale[None]
        # A function that jumps is missed where another switches.
        certain = turns.found | jnp.any(flipped & ~missed, axis=1)
        event, miss = _first(changed | turns.found), _first(jnp.any(missed, axis=1) & ~certain)
        least = 64 * jnp.finfo(length.dtype).eps * jnp.maximum(jnp.abs(now.time), length)
        shorter = (miss <= event) & (miss < len(POINTS)) & (length > least)
        happens = ~shorter & (event < len(POINTS))
        index = jnp.minimum(event, len(POINTS) - 1)
        before = jnp.where(index > 0, times[jnp.maximum(index - 1, 0)], now.time)
        after = jnp.where(changed[index], times[index], turns.times[index])
        last, wall = self._bisected(before, after, happens, begin, constants)
        guard = jnp.argmax(self.sides(self.values(wall, constants)) != self.sides(begin))
        # Steps end before the wall and begin behind it. At a zero itself `t > 1` is as it was
        # before, and `t >= 1` as it is behind: neither is asked there.
        at_zero = self._stands(self.values(last, constants))[guard] & (last != now.time)
        wall = jnp.where(at_zero, last, wall)
        time = jnp.where(happens, beside(wall, direction), times[-1])
        row = jnp.where(happens, now.count, MOST)
        found = dataclasses.replace(
            now.found,
            times=_written(now.found.times, row, wall),
            guards=_written(now.found.guards, row, guard.astype(jnp.int32)),
        )
        grown = jnp.where(happens, now.length, 2 * now.length)
        return _Search(
            jnp.where(shorter, now.time, time),
            jnp.where(shorter, length / 2, grown),
            found,
            now.count + happens,
            now.windows + 1,
        )

    def _series(self, time: Array, constants: list[Array]) -> Array:
        """The Taylor coefficients of the functions about a time, `[order + 1, guards]`."""
        line = jnp.zeros(ORDER + 1, time.dtype).at[0].set(time).at[1].set(1)
        stream = expand(lambda t: self.values(t, constants), Stream(line, "s"))
        return jnp.moveaxis(stream.coefficients, -1, 0)

    def _turns(
        self,
        begin: Array,
        series: Array,
        slopes: Array,
        offsets: Array,
        start: Array,
        constants: list[Array],
    ) -> "_Turns":
        """Between which points a polynomial turns back across a switch, and when."""
        earlier = jnp.concatenate([series[1][None], slopes[:-1]])
        places = jnp.concatenate([jnp.zeros_like(offsets[:1]), offsets[:-1]])
        part = jnp.where(earlier != slopes, earlier / (earlier - slopes), 0)
        where = places[:, None] + part * (offsets - places)[:, None]
        value = polynomial_at(series[:, None], where)
        across = (earlier * slopes < 0) & (self.sides(value) != self.sides(begin)[None])
        # Of several the first.
        size = jnp.where(across, jnp.abs(where), jnp.inf)
        column = jnp.argmin(size, axis=1)
        times = start + jnp.take_along_axis(where, column[:, None], axis=1)[:, 0]
        first = _first(jnp.any(across, axis=1))
        time = times[jnp.minimum(first, len(POINTS) - 1)]
        really = jnp.any(self.sides(self.values(time, constants)) != self.sides(begin))
        found = (jnp.arange(len(POINTS)) == first) & really
        return _Turns(found, jnp.where(found, time, start))

    def _bisected(
        self, before: Array, after: Array, happens: Array, begin: Array, constants: list[Array]
    ) -> tuple[Array, Array]:
        """The two floats between which a switch lies that lies between two times."""
        sides = self.sides(begin)

        def is_open(pair: tuple[Array, Array]) -> Array:
            low, high = pair
            middle = low + (high - low) / 2
            return happens & (middle != low) & (middle != high)

        def halve(pair: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = pair
            middle = low + (high - low) / 2
            past = jnp.any(self.sides(self.values(middle, constants)) != sides)
            return jnp.where(past, low, middle), jnp.where(past, middle, high)

        return lax.while_loop(is_open, halve, (before, after))


class _Turns(eqx.Module):
    """Before which points of a window a function turns back across a switch, and the times."""

    found: Bool[Array, " points"]
    times: Float[Array, " points"]


def _guards_of(equation: Equation, program: Program) -> list[Guard]:
    """The guards of an equation that depends on time."""
    avals = [program.avals[number] for number in equation.ins]
    if not all(jnp.issubdtype(aval.dtype, jnp.floating) for aval in avals):
        return []
    if max(aval.size for aval in avals) > LARGEST:
        return []
    ins, name = equation.ins, equation.name
    if name in ("lt", "le", "gt", "ge", "eq", "ne", "max", "min"):
        return [Guard(ins[0], ins[1])]
    if name in ("abs", "sign"):
        return [Guard(ins[0], None)]
    if name == "clamp":
        return [Guard(ins[1], ins[0]), Guard(ins[1], ins[2])]
    if name in ("floor", "ceil"):
        return [Guard(ins[0], None, whole=True)]
    if name == "round":
        return [Guard(ins[0], None, whole=True, shift=0.5)]
    if name == "rem":
        return [Guard(ins[0], ins[1], whole=True)]
    outs = [program.avals[number].dtype for number in equation.outs]
    if name == "convert_element_type" and jnp.issubdtype(outs[0], jnp.integer):
        return [Guard(ins[0], None, whole=True)]
    return []


def _value(guard: Guard, values: dict[int, Any]) -> Array:
    """A switching function."""
    a = values[guard.a]
    if guard.b is None:
        return jnp.asarray(a)
    return a / values[guard.b] if guard.whole else a - values[guard.b]


def _needed(steps: Sequence[Equation], guards: Sequence[Guard]) -> tuple[Equation, ...]:
    """The equations that guards are made of."""
    wanted = {number for guard in guards for number in (guard.a, guard.b)}
    kept = []
    for equation in reversed(steps):
        if wanted.intersection(equation.outs):
            wanted.update(equation.ins)
            kept.append(equation)
    return tuple(reversed(kept))


def _have_series(field: Program, steps: tuple[Equation, ...], guards: Sequence[Guard]) -> bool:
    """Whether the switching functions can be expanded."""
    found = Guards(field, steps, tuple(guards))
    numbers = [field.inputs[0], *(field.inputs[2 + index] for index in found.reads)]
    types = [field.avals[number] for number in numbers]
    try:
        jax.eval_shape(lambda time, *rest: found._series(time, list(rest)), *types)
    except CircuitError:
        return False
    return True


def _first(flags: Array) -> Array:
    """The index of the first that is set; their count where none is."""
    return jnp.where(jnp.any(flags), jnp.argmax(flags), len(flags))


def _written(rows: Array, row: Array, value: Array) -> Array:
    """The rows with one replaced; past the last, as they are."""
    inside = jnp.minimum(row, len(rows) - 1)
    kept = jnp.where(row < len(rows), value, rows[inside])
    return lax.dynamic_update_index_in_dim(rows, kept, inside, 0)
