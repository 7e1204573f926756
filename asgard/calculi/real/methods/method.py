"""A method of stepping: from a point of a run to a step, whose solution is a polynomial.

Everything here may have lanes: one more axis at the end, the same for all, of runs side by side.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from ....circuits.fields import check_leaves
from ..system import Point, StepControl, System

# A run ends with `NO_STEP` once it has refused so many sizes in a row. A step that shrinks by a
# tenth comes from 1e25 to below the resolution of time at 1 in fewer.
MOST_REFUSED = 1000

# How a run stands, in numbers.
OK, OUT_OF_STEPS, NONFINITE, NO_STEP, NEWTON, STIFF, ZENO, EVENT, FULL, LOST, LAG = range(11)
# What a step is beside others: plain, a jump at events, one of branches where the state rests, or
# cut at the event of guard i, `CUT + i`.
PLAIN, JUMP, REST, CUT = range(4)


class Reach(eqx.Module):
    """How far a step may go from a point.

    `remaining` is the distance to the last time. `before` is the distance to just before the next
    breakpoint, and `to_breakpoint` the signed offset of the breakpoint itself; both are None for a
    run without breakpoints. `latest` is the last time at which a step may ask for the field. `left`
    is how many steps the run may take, None for one without an end.
    """

    remaining: Float[Array, "*lanes"]
    before: Float[Array, "*lanes"] | None
    to_breakpoint: Float[Array, "*lanes"] | None
    latest: Float[Array, "*lanes"]
    left: Int[Array, "*lanes"] | None = None

    def is_far(self, size: Array) -> Bool[Array, "*lanes"]:
        """Whether the steps that are left, of this size, do not reach the last time. Else nobody
        asks what bounds the size."""
        return (
            lax.full(size.shape, True) if self.left is None else self.remaining > self.left * size
        )

    @property
    def whole(self) -> Array:
        """The distance to the last time, and a little more for rounding."""
        return self.remaining + 4 * jnp.finfo(self.remaining.dtype).eps * jnp.abs(self.latest)

    def clip(self, size: Array) -> tuple[Array, Array]:
        """A size that ends before the next breakpoint, and whether the breakpoint bounds it."""
        if self.before is None:
            return size, lax.full(size.shape, False)
        clipped = size >= self.before
        return jnp.where(clipped, self.before, size), clipped

    def offset(self, size: Array, clipped: Array, direction: Array) -> Array:
        """The signed offset of a step's end: the breakpoint's own where that clips the step."""
        offset = direction * size
        return (
            offset if self.to_breakpoint is None else jnp.where(clipped, self.to_breakpoint, offset)
        )


class Mark(eqx.Module):
    """What events make of a step: its `kind`, and which guards have `fired` where it is a jump."""

    kind: Int[Array, "*lanes"]
    fired: Bool[Array, "guards *lanes"]

    @property
    def jumps(self) -> Bool[Array, "*lanes"]:
        """Whether the step is a jump."""
        return (self.kind == JUMP) | (self.kind == REST)


class Stretch(eqx.Module):
    """A step of a known size: its signed `offset`, the `unit` of its polynomial, and the `latest`
    time at which it may ask for the field; and its mark, in a run with events."""

    offset: Float[Array, "*lanes"]
    unit: Float[Array, "*lanes"]
    latest: Float[Array, "*lanes"]
    mark: Mark | None = None

    @property
    def part(self) -> Array:
        """The end of the step as a part of its unit. A jump takes no time, and is whole."""
        part = self.offset / self.unit
        return part if self.mark is None else jnp.where(self.mark.jumps, 1, part)


def up_to(latest: Array, times: Array, offset: Array) -> Array:
    """Times of a step with an offset, which no rounding moves past the latest one; they have the
    derivatives that they had.

    Beside a breakpoint at 0 the latest time is the least number: no product with it is above 0.
    """
    past = jnp.where(offset > 0, times > latest, times < latest)
    return jnp.where(past, lax.stop_gradient(latest) + (times - lax.stop_gradient(times)), times)


class Attempt(eqx.Module):
    """One try of a step.

    - `size`: the size that was tried, positive; `clipped` where a breakpoint bounds it.
    - `begin`, `change`: the state at the point, with what guesses should have been there, and what
      it changes by over the step.
    - `accepted`: the step is good. If it is not and `status` is `OK`, the run tries again from
      `step` and `memory`: a refused step must propose a smaller one, and the next attempt take it.
      After 1000 refusals in a row the run ends with the status `step_size`.
    - `rejected`: how many sizes this attempt refused.
    - `bounded`: stability and not accuracy bounds the size, as in stiff systems. It is read where
      `reach.is_far(size)`, and ends the run.
    - `step`, `memory`: those of the next point, or of this one if the step is not accepted.
    - `stages`: what `StepMethod.polynomial` reads.
    - `mark`: None for a method of your own, as events are found on the polynomials of its steps.
    """

    size: Float[Array, "*lanes"]
    clipped: Bool[Array, "*lanes"]
    begin: Inexact[Array, "state *lanes"]
    change: Inexact[Array, "state *lanes"]
    accepted: Bool[Array, "*lanes"]
    status: Int[Array, "*lanes"]
    rejected: Int[Array, "*lanes"]
    bounded: Bool[Array, "*lanes"]
    step: Float[Array, "*lanes"]
    memory: Any
    stages: Any
    mark: Mark | None = None


class StepMethod(eqx.Module):
    """How a step is made. A method of your own is a subclass, as `Tsit5` is.

    The polynomial of a step is c₀ + s (c₁ + c₂ v + c₃ v² + ...), where s = (t - start) / unit and
    v = s - centre. The start is the time of the step's point. With the centre 0 these are the
    powers of s.
    """

    centre: ClassVar[float] = 0.0

    # The programs of the system that it asks for: "field", "expand", "jacobian".
    reads: ClassVar[tuple[str, ...]] = ("field",)
    # The one of these that `curve` calls, through which derivatives flow.
    derived: ClassVar[str] = "field"
    # What solves about its linear systems: see `System.precondition`.
    preconditioner: ClassVar[Callable[..., Any] | None] = None
    # Whether it solves for the unknowns of loops itself, so that f need not.
    solves_loops: ClassVar[bool] = False
    # Whether no attempt is accepted with a state that is not finite. Else each one is checked.
    only_finite: ClassVar[bool] = False
    # Whether the polynomial of a step is also that of a shorter one.
    is_series: ClassVar[bool] = False

    def __check_init__(self):
        check_leaves(self)

    @property
    def unrolls(self) -> bool:
        """Whether kernels have the loop over the orders of "expand" written out."""
        return False

    @abc.abstractmethod
    def degree(self, dtype: Any) -> int:
        """The degree of a step's polynomial, for states of a dtype."""

    def share(self, degree: int, small: bool) -> float:
        """What part of the tolerance the error of one step may be, by the polynomial's degree, and
        by whether the system is small, as `choice.is_small` tells.

        Errors of many steps add up, and a system may amplify them: `test_detest.py` shows by how
        much.
        """
        return 1.0

    def side_by_side(self, size: int) -> int | None:
        """How many runs of a batch should share the operations of a kernel at most, by the size of
        their states; None where the system alone says it."""
        return None

    @abc.abstractmethod
    def start(self, system: System, point: Point, control: StepControl, reach: Reach) -> Point:
        """The point before the first step, with the size to try first, above 0, and what is
        remembered."""

    @abc.abstractmethod
    def attempt(
        self, system: System, point: Point, reach: Reach, direction: Array, control: StepControl
    ) -> Attempt:
        """One try of a step from a point, in `direction` 1 or -1."""

    @abc.abstractmethod
    def unit(self, offset: Array) -> Array:
        """The unit of the polynomial of a step that ends at an offset."""

    @abc.abstractmethod
    def polynomial(self, system: System, point: Point, attempt: Attempt, stretch: Stretch) -> Array:
        """The polynomial of a step that was just tried, `[degree + 1, state, *lanes]`."""

    @abc.abstractmethod
    def curve(self, system: System, time: Array, state: Array, stretch: Stretch) -> Array:
        """The polynomial of a step of a known size, from its start alone.

        It is differentiable in the time, the state, the offset and in what the system closes over.
        """
