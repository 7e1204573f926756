"""The steps of a run with delays: each sees a system of time and state alone, and its polynomial
becomes a part of the history. `view.py` says what a step reads, `history.py` what is kept.

Everything here may have lanes: one more axis at the end.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ...jaxprs.fences import largest_of
from ...jaxprs.trees import select
from . import adaptive
from .adaptive import Pause, next_breakpoint
from .history import DelayLayout, History
from .methods.checked import curve_of
from .methods.defect import DEFECT, NOISE
from .methods.method import LAG, LOST, OK, Attempt, Mark, StepMethod, Stretch
from .path import Taken, Write
from .polynomial import value_at
from .system import Point, StepControl, System
from .view import View

# The highest order of a jump at which steps end. Where one of a higher order matters, the error of
# a step tells: the Mackey-Glass equation takes 213 steps with 4 as with 20, and a thermostat that
# switches late 135 with 8 and 267 with 20, at equal errors.
DEEPEST = 8
# What a step leaves of the scale of the one before.
LATELY = 0.9
# At which parts of a step its wires are checked.
CHECKED = (0.31, 0.73, 1.0)


@dataclasses.dataclass(frozen=True)
class Seen:
    """A system as a method sees it from a point, and the bounds of the step from there.

    `view` is what the step reads of the history, None in a run without delays; `given` is the next
    breakpoint that is not the history's.
    """

    system: System
    control: StepControl
    view: View | None = None
    given: Any = None

    @classmethod
    def at(
        cls,
        layout: DelayLayout | None,
        method: StepMethod,
        system: System,
        control: StepControl,
        history: History | None,
        point: Point,
        lags: Any,
        direction: Array,
        taken: Taken | None = None,
    ) -> "Seen":
        """What a method sees from a point, to try a step or to retake one that was taken."""
        if layout is None or history is None:
            return cls(system, control)
        view = View.of(layout, system, method.centre, history, point, lags)
        if layout.is_series:
            order = method.degree(point.state.dtype)
            if taken is None:
                view = view.fitted(order, point, control)
            else:
                assert taken.span is not None
                view = view.along(order, lax.stop_gradient(taken.span))
        given = next_breakpoint(point.time, direction, control)
        given = jnp.full_like(point.time, jnp.inf) if given is None else given
        wall, longest = jnp.minimum(given, view.wall), jnp.minimum(control.max_step, view.longest)
        control = dataclasses.replace(control, breakpoints=wall[None], max_step=longest)
        return cls(view.seen(), control, view, given)

    def with_delayed(self, time: Array, state: Array) -> Array:
        """A state at a time with what the delays give there behind it."""
        return state if self.view is None else jnp.concatenate([state, self.view.at(time)])

    def beside(self, point: Point, time: Array, chosen: Array, offset: Array) -> Array:
        """The offset from a point of a saved time, 0 where the point stands just past it: then it
        still moves as its delays do."""
        if self.view is None:
            return offset
        moved = time - point.time - point.late
        return jnp.where(chosen, moved - lax.stop_gradient(moved), offset)

    def judged(self, attempt: Attempt, direction: Array) -> Attempt:
        """The try of a step, failed where it cannot read the history."""
        if self.view is None:
            return attempt
        status = jnp.where(self.view.lost, LOST, attempt.status)
        status = jnp.where(self.view.wrong | (direction < 0), LAG, status).astype(jnp.int32)
        return dataclasses.replace(
            attempt, status=status, accepted=attempt.accepted & (status == OK)
        )

    def after(
        self,
        history: History,
        method: StepMethod,
        point: Point,
        end: Point,
        coefficients: Array,
        stretch: Stretch,
        taken: Taken,
        good: Array,
        write: Write,
    ) -> History:
        """The history after a good step. A jump takes no time, and what it moves jumps."""
        assert self.view is not None
        moves = good if taken.mark is None else good & ~taken.mark.jumps
        level = self.view.level_after(taken.clipped, self.control.breakpoints[0], self.given)
        segment = segment_of(self.view.layout, method, self.system, point, coefficients, stretch)
        found = history.pushed(point, segment, stretch, moves, write)
        level = jnp.where(moves, level, 0)
        rough = good & jnp.any(level <= self.view.layout.deepest, axis=0)
        breaks = found.breaks.with_one(end.time + end.late, level, rough, write)
        return dataclasses.replace(found, breaks=breaks)


def segment_of(
    layout: DelayLayout,
    method: StepMethod,
    system: System,
    point: Point,
    coefficients: Array,
    stretch: Stretch,
) -> Array:
    """The polynomials over a step of what goes into the delays, `[orders, entries, *lanes]`.

    Those of registers are the state's own. A series has the others too; elsewhere they are
    interpolated.
    """
    own = coefficients[:, layout.columns]
    if layout.is_series or not np.any(layout.derived):
        return own
    nodes, weights = _interpolation(len(coefficients) - 1, method.centre)
    dtype = stretch.unit.dtype

    def one(node: Array) -> Array:
        state = value_at(coefficients, jnp.broadcast_to(node, stretch.unit.shape), method.centre)
        return system.field(point.time + node * stretch.unit, state)[layout.columns]

    values = lax.map(one, nodes.astype(dtype))
    weights = weights.reshape(*weights.shape, *(1,) * (values.ndim - 1)).astype(values.dtype)
    found = lax.reduce_sum(weights * values[None], (1,))
    derived = layout.derived.reshape(-1, *(1,) * point.time.ndim)
    return jnp.where(derived, found, own)


def holds_for_wires(
    layout: DelayLayout,
    method: StepMethod,
    seen: Seen,
    point: Point,
    coefficients: Array,
    stretch: Stretch,
    mark: Mark | None,
    scales: Array,
) -> tuple[Array, Array]:
    """Whether the polynomials of what goes into the delays hold over a step, `[*lanes]`, beside how
    large that was lately; and how large it is now, `[entries, *lanes]`."""
    if not np.any(layout.derived):
        return jnp.full(point.time.shape, True), scales
    segment = segment_of(layout, method, seen.system, point, coefficients, stretch)

    def one(part: Array) -> tuple[Array, Array]:
        s = stretch.part * part
        state = value_at(coefficients, s, method.centre)
        wires = seen.system.field(point.time + part * stretch.offset, state)[layout.columns]
        return jnp.abs(wires), jnp.abs(value_at(segment, s, method.centre) - wires)

    sizes, errors = lax.map(one, np.asarray(CHECKED, stretch.unit.dtype))
    control = seen.control
    rtol, atol = (lax.reduce_min(x, (0,)) for x in (control.rtol, control.atol))
    rtol = jnp.maximum(DEFECT * rtol, NOISE * jnp.finfo(rtol.dtype).eps)
    # What passes zero is as exact as it was before.
    scales = jnp.maximum(jnp.max(sizes, axis=0), LATELY * scales)
    allowed = DEFECT * atol + rtol * jnp.maximum(scales, jnp.abs(segment[0]))
    derived = layout.derived.reshape(-1, *(1,) * point.time.ndim)
    holds = jnp.all(~derived | (largest_of(errors, (0,)) <= allowed), axis=0)
    return holds if mark is None else holds | mark.jumps, scales


@functools.cache
def _interpolation(degree: int, centre: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of a step, and the matrix from values there to the polynomial's coefficients."""
    nodes = 0.5 - 0.5 * np.cos(np.pi * np.arange(degree + 1) / degree)
    powers = [nodes * (nodes - centre) ** k for k in range(degree)]
    return nodes, np.linalg.inv(np.stack([np.ones_like(nodes), *powers], axis=1))


@dataclasses.dataclass(frozen=True)
class Delays:
    """The delays of a run: what is static, by how much, and the history from which it goes on."""

    layout: DelayLayout
    lags: Float[Array, " delays"]
    history: History | None = None

    def begun(self, degree: int, centre: float, begin: Point) -> History:
        """The history at the start."""
        if self.history is not None:
            return self.history
        return History.blank(self.layout, degree, centre, begin).started(begin, _write)

    def seen(
        self, method: StepMethod, system: System, control: StepControl, point: Point, degree: int
    ) -> Seen:
        """What a method sees from the first point."""
        direction = jnp.ones_like(point.time)
        history = self.begun(degree, method.centre, point)
        return Seen.at(self.layout, method, system, control, history, point, self.lags, direction)


def resume(
    method: StepMethod,
    system: System,
    ts: Array,
    pause: Pause,
    control: StepControl,
    delays: Delays | None,
) -> tuple[Point, Array, History | None]:
    """`adaptive.resume`, with the history from which the run goes on.

    One that starts afresh has the last step in its history, up to where it came.
    """
    if delays is None:
        return *adaptive.resume(method, system, ts, pause, control), None
    history: History = pause.history
    point = pause.point
    delays = dataclasses.replace(delays, history=history)
    seen = delays.seen(method, system, control, point, len(pause.coefficients) - 1)
    stretch = Stretch(pause.last - point.time - point.late, pause.unit, pause.last)
    same = _goes_in_alike(delays.layout, method, seen, point, stretch, history.present)
    begin, again = adaptive.resume(method, seen.system, ts, pause, seen.control, same)
    moved = stretch.offset > 0
    pushed = history.pushed(point, history.present, stretch, moved, _write)
    level = jnp.zeros(delays.layout.count, ts.dtype)
    breaks = history.breaks.with_one(begin.time, level, moved, _write)
    pushed = dataclasses.replace(pushed, breaks=breaks)
    history = select(again, history, pushed)
    return begin, again, history


def _goes_in_alike(
    layout: DelayLayout,
    method: StepMethod,
    seen: Seen,
    point: Point,
    stretch: Stretch,
    present: Array,
) -> Array:
    """Whether wires that go into delays, and are not those of registers, follow `present` along a
    step: another parameter may change them alone."""
    if not np.any(layout.derived):
        return jnp.ones((), bool)
    whole = Stretch(stretch.unit, stretch.unit, point.time + point.late + stretch.unit)
    curve = curve_of(method, seen.system, point.time, point.state, whole)
    found = segment_of(layout, method, seen.system, point, curve, whole)

    def difference(part: Array) -> Array:
        s = part * stretch.offset / stretch.unit
        return jnp.abs(value_at(found, s, method.centre) - value_at(present, s, method.centre))

    errors = jnp.max(lax.map(difference, np.asarray([0.0, *CHECKED], stretch.unit.dtype)), axis=0)
    scale = jnp.max(jnp.abs(present[0]))
    rtol, atol = (lax.reduce_min(x, (0,)) for x in (seen.control.rtol, seen.control.atol))
    allowed = DEFECT * (atol + rtol * scale) + NOISE * jnp.finfo(scale.dtype).eps * scale
    return jnp.all(~layout.derived | (errors <= allowed))


def _write(rows: Array, row: Array, value: Array) -> Array:
    return rows.at[row].set(value)
