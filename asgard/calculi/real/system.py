"""What is integrated, by which tolerances, and the points between its steps.

Everything here may have lanes: one more axis at the end, the same for all, of runs side by side.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

from ...jaxprs.sparsity import Pattern

# At how many points of a step its polynomial must satisfy the equation. Fewer do where the equation
# neither branches nor names time: then a kink or a pulse comes only by the solution itself. One
# at the end does where the equation is a polynomial of a low degree in time and state: it has no
# pulse, and the defect is largest there. With 1, 2 and 4 checks 600 runs of random ones, at orders
# 4 to 20, had the same errors.
CHECKS, SMOOTH_CHECKS, LOW_CHECKS = 12, 4, 1
LOW_DEGREE = 3


@dataclasses.dataclass(frozen=True)
class System:
    """y' = f(t, y) with a flat state.

    `field(t, y)` gives f, `expand(t, y)` the Taylor coefficients of the solution through (t, y), of
    shape `[order + 1, state]`, and `jacobian(t, y)` the derivatives of f along y, `[state, state]`,
    or if there is a `pattern` their products by its seeds, `[colors, state]`. The last two are None
    where the method of stepping asks for none. The state is the first `size` entries of y. The
    others are guesses: f does not depend on them, and gives what they should have been. A Taylor
    step is checked at `checks` points, `one_by_one` or all at once. `in_turn` says that f is long:
    what evaluates it many times is a loop, or compiles long. `branches` says that f may jump or
    have kinks.

    In a run with events, `watch(t, y)` gives the guards, and behind them what their pieces compare,
    `[guards + conditions]`; and `jump(t, y)` what each entry of the state becomes at an event of
    its guard, as `layout` says; they are None elsewhere. `along(t, y)` gives the series of those
    that are `layout.curved`, `[orders, curved]`, for a y that has the series of the state in a unit
    of time, and this unit; it is None where there are none.

    In a run with delays, all these are given what the delays give behind the state: `[delayed]`
    values, for `expand` their series, flat. `past(t, s)` gives what it is at times s, one for each
    delay, before the start. A method sees the functions of t and y alone: see `delays.py`.

    `unrolled` is `expand` with its loop over the orders written out, for kernels, or None.

    `precondition(t, y, s, v)` is about (I - s J)^-1 v for a complex number s and a complex vector
    v, `[size]`, where the method has a preconditioner, else None.

    If the last entries of the state, `algebraic` of them, are unknowns of loops, then f is 0 there
    where the loops are solved, and `solve(t, y)` gives y with these entries solved for. It is None
    where they stay so along a run.
    """

    field: Callable[[Array, Array], Array]
    expand: Callable[[Array, Array], Array] | None
    jacobian: Callable[[Array, Array], Array] | None
    size: int
    checks: int = CHECKS
    one_by_one: bool = False
    in_turn: bool = False
    pattern: Pattern | None = None
    algebraic: int = 0
    solve: Callable[[Array, Array], Array] | None = None
    branches: bool = True
    layout: "EventLayout | None" = None
    watch: Callable[[Array, Array], Array] | None = None
    jump: Callable[[Array, Array], Array] | None = None
    along: Callable[[Array, Array], Array] | None = None
    past: Callable[[Array, Array], Array] | None = None
    unrolled: Callable[[Array, Array], Array] | None = None
    precondition: Callable[[Array, Array, Array, Array], Array] | None = None

    def guards(self, time: Array, state: Array) -> Array:
        """The guards, `[guards]`, without conditions."""
        assert self.watch is not None
        found = self.watch(time, state)
        if self.layout is None or not self.layout.conditions:
            return found
        return found[: self.layout.guards]

    @property
    def differential(self) -> int:
        """How many entries of the state have a derivative."""
        return self.size - self.algebraic


@dataclasses.dataclass(frozen=True, eq=False)
class EventLayout:
    """What is static of a run's events.

    `entries` has the guard of each entry of the state, -1 where there is none. `at_start` says of
    each guard whether it has an event at the start if it is above zero there, `branches` whether it
    is that of a branch, `watched` whether the run watches it, and `terminal` whether it ends the
    run. `bands` says of each entry of the state whether it is the band of a branch, and `held`
    whether it only jumps, as those of branches and of relays do. There is room
    for `most` events that are watched. `has_series` says that what `System.expand` gives has the
    series of the guards in its last columns. `curved` has the numbers of the guards and conditions
    that are no linear functions along a step; `kinked` says that guards may jump or have kinks, and
    `conditions` how many numbers pass zero where they do.
    """

    entries: np.ndarray
    bands: np.ndarray
    held: np.ndarray
    at_start: np.ndarray
    branches: np.ndarray
    watched: np.ndarray
    terminal: np.ndarray
    most: int
    has_series: bool = False
    curved: tuple[int, ...] = ()
    kinked: bool = False
    conditions: int = 0

    @property
    def guards(self) -> int:
        """How many guards there are."""
        return len(self.at_start)

    @property
    def settles(self) -> bool:
        """Whether there are guards of branches, and others that may read what these hold."""
        return bool(np.any(self.branches) and not np.all(self.branches))

    @property
    def keeps(self) -> bool:
        """Whether events are kept."""
        return bool(np.any(self.watched))


class StepControl(eqx.Module):
    """Tolerances, by entry, and bounds of the steps.

    `breakpoints` are sorted times that no step passes.
    """

    rtol: Float[Array, "entries ..."]
    atol: Float[Array, "entries ..."]
    max_step: Float[Array, "..."]
    breakpoints: Float[Array, "breakpoints ..."]


class Point(eqx.Module):
    """A point of a run between two steps.

    The state is that at `time + late`, and `remainder` is what rounding left out of it so far.
    `step` is the size from which the method finds that of the next step, 0 before the first, and
    `memory` what else it remembers: a pytree of arrays `[..., *lanes]`, None before it is known.
    """

    time: Float[Array, "*lanes"]
    late: Float[Array, "*lanes"]
    state: Inexact[Array, "state *lanes"]
    remainder: Inexact[Array, "state *lanes"]
    step: Float[Array, "*lanes"]
    memory: Any


def any_of(flags: Array) -> Array:
    """Whether a flag is set in any lane."""
    return lax.reduce_or(flags, range(flags.ndim)) if flags.ndim else flags


def sizes_of(system: System, values: Array, axis: int = 0) -> Array:
    """The magnitude of each entry of a state along an axis, without guesses."""
    if values.shape[axis] > system.size:
        values = lax.slice_in_dim(values, 0, system.size, axis=axis)
    return lax.abs(values)
