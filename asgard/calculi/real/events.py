"""Events: a method of steps that ends them where guards pass zero, and jumps there.

A step that a guard crosses is cut there. The next one is a jump: it takes no time, and its
polynomial is the change of the state. Where the event moves with the state or the parameters, the
cut step's size moves with it, by the implicit function theorem: φ(s) = g(t + s, y(s)) = 0 gives
ds = -dφ / φ'. So the derivatives across a jump are those of the saltation matrix (Kong et al.,
*Saltation matrices*, Proceedings of the IEEE 112, 2024), through any number of jumps at one time.

Everything here may have lanes: one more axis at the end.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...jaxprs.trees import select
from .adaptive import beside
from .crossing import Crossing, first_crossing, looked
from .guard_series import by_series, extent_of
from .jumps import Memory, as_polynomial, change_of, jump, rounding_of
from .methods.checked import attempt_of, curve_of, polynomial_of, start_of, unit_of
from .methods.method import (
    CUT,
    NONFINITE,
    PLAIN,
    REST,
    Attempt,
    Mark,
    Reach,
    StepMethod,
    Stretch,
)
from .parts import first_crossing_by_parts
from .polynomial import change_and_slope, rescaled, sum_of_powers
from .surfaces import ends_at_rest
from .system import EventLayout, Point, StepControl, System, any_of
from .watched import Watched

# A method whose polynomials are those of their own steps alone takes a step again that is cut
# before this part of it, up to just past the crossing; but not one that is cut at its very start,
# where any polynomial is right.
NEAR, START, PAST = 0.9, 1e-4, 1.02


class Eventful(StepMethod):
    """A method with events. Its steps are those of `method`."""

    method: StepMethod
    layout: EventLayout = eqx.field(static=True)

    only_finite: ClassVar[bool] = True

    @property
    def centre(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.centre

    @property
    def reads(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        along = ("along",) if self.layout.curved else ()
        return (*self.method.reads, "watch", "jump", *along)

    @property
    def derived(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.derived

    @property
    def solves_loops(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.solves_loops

    @property
    def preconditioner(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.method.preconditioner

    is_series: ClassVar[bool] = False

    @property
    def unrolls(self) -> bool:
        return self.method.unrolls

    def degree(self, dtype: Any) -> int:
        return self.method.degree(dtype)

    def share(self, degree: int, small: bool) -> float:
        return self.method.share(degree, small)

    def side_by_side(self, size: int) -> int | None:
        return self.method.side_by_side(size)

    def unit(self, offset: Array) -> Array:
        return unit_of(self.method, offset)

    def start(self, system: System, point: Point, control: StepControl, reach: Reach) -> Point:
        assert system.watch is not None
        inner = start_of(self.method, system, point, control, reach)
        direction = jnp.where(reach.latest < point.time, -1.0, 1.0).astype(point.time.dtype)
        # A trigger that jumps at the start has an event there. Beside 0 a time is divided without
        # becoming 0 itself.
        least = direction * jnp.sqrt(jnp.finfo(point.time.dtype).tiny)
        before = jnp.where(point.time == 0, -least, beside(point.time, -direction))
        guards = system.guards(before, point.state)
        sides = guards > 0
        at_start = self.layout.at_start.reshape(-1, *(1,) * point.time.ndim)
        nothing = jnp.zeros(point.time.shape, jnp.int32)
        settles = self.layout.settles
        memory = Memory(
            inner=inner.memory,
            sides=sides & ~at_start,
            fired=jnp.zeros_like(sides),
            fresh=nothing == 0,
            rests=nothing != 0,
            last=jnp.full_like(point.time, jnp.inf),
            crowd=nothing,
            turned=nothing,
            settling=nothing != 0 if settles else None,
            before=guards if settles else None,
        )
        return dataclasses.replace(inner, memory=memory)

    def attempt(
        self, system: System, point: Point, reach: Reach, direction: Array, control: StepControl
    ) -> Attempt:
        assert system.watch is not None
        memory: Memory = point.memory
        guards = system.guards(point.time, point.state)
        # Across a breakpoint a guard may fall.
        sides = memory.sides & (~memory.fresh | (guards >= -rounding_of(point, guards)))
        memory = dataclasses.replace(memory, sides=sides)
        point = dataclasses.replace(point, memory=memory)
        fired = memory.fired | (memory.fresh & ~memory.sides & (guards > 0))
        jumps = jnp.any(fired, axis=0)

        def jumped() -> Attempt:
            return jump(self.method, self.layout, system, point, fired, reach, direction, control)

        def stepped() -> Attempt:
            return self._step(system, point, reach, direction, control, ~jumps)

        attempt = _one_or_other(jumps, jumped, stepped)
        # A guard that is no number says nothing of events.
        lost = jnp.any(jnp.isnan(guards), axis=0)
        return dataclasses.replace(
            attempt,
            accepted=attempt.accepted & ~lost,
            status=jnp.where(lost, NONFINITE, attempt.status),
        )

    def polynomial(self, system: System, point: Point, attempt: Attempt, stretch: Stretch) -> Array:
        return attempt.stages

    def curve(self, system: System, time: Array, state: Array, stretch: Stretch) -> Array:
        mark, plain = stretch.mark, dataclasses.replace(stretch, mark=None)
        inner, _ = self._apart(system)
        step = curve_of(self.method, inner, time, state, plain)
        if mark is None:
            return step
        change = change_of(system, self.layout, time, state, mark.fired, mark.kind == REST)
        return jnp.where(mark.jumps, as_polynomial(state, change, len(step)), step)

    def shift(
        self, system: System, time: Array, state: Array, stretch: Stretch, curve: Array
    ) -> tuple[Array, Array]:
        """By how much the end of a step moves with its event, in time and in state.

        Both are zero, and have the derivatives of first and second order.
        """
        assert system.watch is not None
        assert stretch.mark is not None
        watch, kind = system.watch, stretch.mark.kind
        guard, unit = jnp.maximum(kind - CUT, 0), stretch.unit

        def value(offset: Array) -> Array:
            part = (offset / unit).astype(curve.dtype)
            return curve[0] + part * sum_of_powers(curve[1:], part - self.centre)

        def along(offset: Array) -> Array:
            guards = watch(time + offset, value(offset))
            chosen = jnp.arange(len(guards)).reshape(-1, *(1,) * guard.ndim) == guard
            return jnp.sum(jnp.where(chosen, guards, 0), axis=0)

        def slope(offset: Array) -> Array:
            return jax.jvp(along, (offset,), (jnp.ones_like(offset),))[1]

        offset = lax.stop_gradient(stretch.offset)
        found = along(offset)
        first, second = jax.jvp(slope, (offset,), (jnp.ones_like(offset),))
        is_cut = kind >= CUT
        first = jnp.where(is_cut, first, 1)
        moves = jnp.where(is_cut, found - lax.stop_gradient(found), 0)
        part = moves / jnp.where(first == 0, 1, first)
        # Where the guard does not move, how its event does is not known.
        part = jnp.where(first == 0, _unknown(part), part)
        late = -part - 0.5 * jnp.where(is_cut, second, 0) / jnp.where(first == 0, 1, first) * (
            part * part
        )
        moved = value(offset + late) - value(offset)
        return late, jnp.where(is_cut, moved, 0)

    def _apart(self, system: System) -> tuple[System, list[Array]]:
        """The system as the method sees it; and a list that gets the series of the guards, where
        there are some, once the method has asked for those of the state."""
        expand, found = system.expand, []
        if expand is None or not self.layout.has_series:
            return system, found

        def own(t: Array, y: Array) -> Array:
            whole = expand(t, y)
            guards = whole[:, len(y) :]
            found.append(guards.real if jnp.iscomplexobj(guards) else guards)
            return whole[:, : len(y)]

        return dataclasses.replace(system, expand=own), found

    def _step(
        self,
        system: System,
        point: Point,
        reach: Reach,
        direction: Array,
        control: StepControl,
        active: Array,
    ) -> Attempt:
        """One try of a step of the method, cut where a guard first passes zero."""
        memory: Memory = point.memory
        inner = dataclasses.replace(point, memory=memory.inner)
        own, series = self._apart(system)
        attempt = attempt_of(self.method, own, inner, reach, direction, control)
        offset = reach.offset(attempt.size, attempt.clipped, direction)
        unit = unit_of(self.method, offset)
        unit = jnp.where(unit == 0, jnp.ones_like(unit), unit)
        stretch = Stretch(offset, unit, reach.latest)
        curve = polynomial_of(self.method, own, inner, attempt, stretch)
        searched = active & attempt.accepted
        # What lies past the last time does not matter.
        size = jnp.minimum(attempt.size, reach.remaining)
        left = reach.remaining
        watched = Watched(system, point, curve, self.centre, stretch, direction, size, left)
        if series:
            values, rests = by_series(series[0], direction), jnp.all(series[0] == 0, axis=0)
            found = extent_of(series[0], size, memory.sides)
            rough, noise = watched.differs(values, found.size), None
            values = watched.where(rough, values)
            whole, size = size, jnp.where(searched & ~rough, found.size, size)
            searched &= ~found.excluded | rough
        else:
            values, rough = watched.values, watched.is_rough()
            look, whole = looked(values, size), size
            rests, noise = look.rests[: len(memory.sides)], look.noise
            searched &= ~look.is_clear(memory.sides, size) | rough
        smooth = watched.smooth(rough)
        search = first_crossing_by_parts if self.layout.conditions else first_crossing
        crossing = search(values, smooth, memory.sides, size, point.time, searched, noise)
        ended = crossing.found | (crossing.distance < whole)
        found = self._cut(point, attempt, curve, unit, direction, crossing, ended)
        return self._unless_at_rest(system, point, found, rests & active)

    def _unless_at_rest(
        self, system: System, point: Point, attempt: Attempt, rests: Array
    ) -> Attempt:
        """The try of a step, refused where it `rests` at the end of a branch: that jumps first."""

        def change(fired: Array) -> Array:
            any_ = jnp.any(fired, axis=0)
            return change_of(system, self.layout, point.time, point.state, fired, any_)

        memory: Memory = point.memory
        fired = ends_at_rest(self.layout, point, rests & attempt.accepted, change)
        refused = jnp.any(fired, axis=0)
        first = dataclasses.replace(memory, fired=fired, rests=refused)
        return dataclasses.replace(
            attempt,
            accepted=attempt.accepted & ~refused,
            rejected=attempt.rejected + refused,
            step=jnp.where(refused, point.step, attempt.step),
            memory=select(refused, first, attempt.memory),
        )

    def _cut(
        self,
        point: Point,
        attempt: Attempt,
        curve: Array,
        unit: Array,
        direction: Array,
        crossing: Crossing,
        ended: Array,
    ) -> Attempt:
        """The try of a step that ends at a crossing, or where the search for one has `ended`."""
        memory: Memory = point.memory
        distance = crossing.distance
        early = (distance < NEAR * attempt.size) & (distance > START * attempt.size)
        early &= crossing.found
        retry = jnp.minimum(PAST * distance, 0.5 * (distance + attempt.size))
        if self.method.is_series:
            retried = jnp.zeros_like(early)
        else:
            # Where nothing happens it may not end early: what the method remembers is of its end.
            given_up = ended & ~crossing.found
            retried = early | given_up
            retry = jnp.where(given_up, NEAR * distance, retry)
        cut, guards = crossing.found & ~retried, self.layout.guards
        along = direction * distance

        def shorter() -> tuple[Array, Array]:
            change, _ = change_and_slope(curve, along / unit, self.centre)
            change = jnp.where(ended, change, attempt.change)
            return change, self._rescaled(curve, along, unit, ended)

        # Few steps are cut.
        change, stages = lax.cond(any_of(ended), shorter, lambda: (attempt.change, curve))
        kind = jnp.where(cut, CUT + self._number(crossing.fired), PLAIN)
        fired = crossing.fired[:guards]
        onward = Memory(
            inner=attempt.memory,
            sides=jnp.where(attempt.accepted, crossing.sides, memory.sides),
            fired=cut & fired,
            fresh=jnp.where(attempt.accepted, attempt.clipped & ~ended, memory.fresh),
            rests=jnp.zeros_like(memory.rests),
            last=memory.last,
            crowd=memory.crowd,
            turned=memory.turned,
            settling=memory.settling,
            before=memory.before,
        )
        return dataclasses.replace(
            attempt,
            size=jnp.where(ended, distance, attempt.size),
            clipped=attempt.clipped & ~ended,
            change=change,
            accepted=attempt.accepted & ~retried,
            rejected=attempt.rejected + retried,
            step=jnp.where(retried, retry, attempt.step),
            memory=select(retried, memory, onward),
            stages=stages,
            mark=Mark(kind.astype(jnp.int32), jnp.zeros_like(fired)),
        )

    def _number(self, fired: Array) -> Array:
        """The number of the function whose zero an event is at: where a guard jumps as a condition
        passes zero it is that of the condition."""
        if not self.layout.conditions:
            return jnp.argmax(fired, axis=0)
        guards, conditions = self.layout.guards, self.layout.conditions
        number = jnp.argmax(jnp.concatenate([fired[guards:], fired[:guards]]), axis=0)
        return jnp.where(number < conditions, guards + number, number - conditions)

    def _rescaled(self, curve: Array, offset: Array, unit: Array, cut: Array) -> Array:
        """The polynomial of a step in the unit of one that is cut at an offset."""
        if self.method.is_series:
            return curve
        shorter = unit_of(self.method, offset)
        ratio = jnp.where(cut, shorter / unit, 1)
        return jnp.concatenate([curve[:1], rescaled(curve[1:], ratio, self.centre)])


def _one_or_other(
    first: Array, one: Callable[[], Attempt], other: Callable[[], Attempt]
) -> Attempt:
    """Of two attempts the one that each lane takes. What no lane takes is not computed."""
    if first.ndim == 0:
        return lax.cond(first, one, other)
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one))
    found = lax.cond(any_of(first), one, lambda: blank)
    rest = lax.cond(any_of(~first), other, lambda: found)
    return select(first, found, rest)


@jax.custom_jvp
def _unknown(value: Array) -> Array:
    """A number whose derivative is not known, and NaN."""
    return value


@_unknown.defjvp
def _unknown_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (value,), (tangent,) = primals, tangents
    return value, jnp.nan * jnp.ones_like(tangent)
