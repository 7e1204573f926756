"""Jumps: what the state becomes at an event, and on which side of zero guards are after it.

Everything here may have lanes: one more axis at the end.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ...jaxprs.branching import ASKED
from .methods.checked import start_of
from .methods.method import EVENT, JUMP, OK, REST, ZENO, Attempt, Mark, Reach, StepMethod
from .surfaces import across_jump
from .system import EventLayout, Point, StepControl, System

# A run in which so many jumps follow each other without time passing has infinitely many; and so
# has one in which so many follow each other after each of which the rates lead back to it.
MOST_JUMPS, MOST_TURNED = 64, 8
# So many roundings of what guards are made of are nothing that a jump has moved.
ROUNDINGS = 64.0


class Memory(eqx.Module):
    """What is remembered between steps.

    - `inner`: what the method itself remembers.
    - `sides`: whether guards are above zero; `fired`: those whose events happen at the point.
    - `fresh`: whether the point follows a breakpoint, across which guards may change.
    - `rests`: whether events happen as branches rest.
    - `last`: the time of the last jump; `crowd`: how many came before it without time passing;
      `turned`: after how many in a row the rates led back to where they were.
    - `settling`: whether branches still settle, one by a jump of another; `before`: the guards
      before the first of these jumps. None where no guard can read what branches hold.
    """

    inner: Any
    sides: Bool[Array, "guards *lanes"]
    fired: Bool[Array, "guards *lanes"]
    fresh: Bool[Array, "*lanes"]
    rests: Bool[Array, "*lanes"]
    last: Float[Array, "*lanes"]
    crowd: Int[Array, "*lanes"]
    turned: Int[Array, "*lanes"]
    settling: Bool[Array, "*lanes"] | None
    before: Float[Array, "guards *lanes"] | None


def jump(
    method: StepMethod,
    layout: EventLayout,
    system: System,
    point: Point,
    fired: Array,
    reach: Reach,
    direction: Array,
    control: StepControl,
) -> Attempt:
    """The jump at a point where guards have fired."""
    memory: Memory = point.memory
    change = change_of(system, layout, point.time, point.state, fired, memory.rests)
    after = dataclasses.replace(point, state=point.state + change)
    inner = start_of(method, system, after, control, reach).memory
    before, guards, returns = across_jump(system, layout, point, after, fired, direction)
    # Beside the time 0 all times can be told apart.
    scale = jnp.maximum(jnp.abs(point.time), jnp.minimum(point.step, reach.remaining))
    close = 64 * jnp.finfo(point.time.dtype).eps * scale
    crowd = jnp.where(jnp.abs(point.time - memory.last) <= close, memory.crowd + 1, 0)
    terminal = layout.terminal.reshape(-1, *(1,) * point.time.ndim)
    ends = jnp.any(fired & terminal, axis=0)
    turned = jnp.where(returns, memory.turned + 1, 0)
    endless = (crowd >= MOST_JUMPS) | (turned >= MOST_TURNED)
    status = jnp.where(endless, ZENO, jnp.where(ends, EVENT, OK)).astype(jnp.int32)
    none = jnp.zeros(point.time.shape, jnp.int32)
    no = none != 0
    sides, lifted, settling, before = _once_settled(layout, point, before, guards, fired)
    # A run that ends here goes on from after the jump.
    state = jnp.where(ends, after.state, point.state)
    moved = jnp.where(ends, 0, change)
    return Attempt(
        size=jnp.zeros_like(point.time),
        clipped=no,
        begin=point.state,
        change=change,
        accepted=~endless,
        status=status,
        rejected=none,
        bounded=no,
        step=point.step,
        memory=Memory(
            inner=inner,
            sides=sides,
            fired=lifted,
            fresh=no,
            rests=no,
            last=point.time,
            crowd=crowd,
            turned=turned,
            settling=settling,
            before=before,
        ),
        stages=as_polynomial(state, moved, method.degree(point.state.dtype) + 1),
        mark=Mark(jnp.where(memory.rests, REST, JUMP).astype(jnp.int32), fired),
    )


def change_of(
    system: System, layout: EventLayout, time: Array, state: Array, fired: Array, rests: Array
) -> Array:
    """What the state changes by where guards have fired, or branches rest."""
    assert system.jump is not None
    entries, asked = layout.entries, state
    if np.any(layout.bands):
        bands = layout.bands.reshape(-1, *(1,) * time.ndim)
        asked = jnp.where(bands & rests, ASKED, state)
    chosen = [fired[guard] if guard >= 0 else jnp.zeros_like(fired[0]) for guard in entries]
    return jnp.where(jnp.stack(chosen), system.jump(time, asked) - state, 0)


def _once_settled(
    layout: EventLayout, point: Point, before: Array, guards: Array, fired: Array
) -> tuple[Array, Array, Array | None, Array | None]:
    """On which side of zero guards are after a jump, and which it has lifted above zero; and what
    `Memory` keeps of branches that settle: what else reads these has no event between two of their
    jumps.

    `before` and `guards` have what guards were before and after the jump.
    """
    memory: Memory = point.memory
    if memory.settling is None or memory.before is None:
        sides = _sides_after(layout, point, before, guards, fired)
        return sides, _lifted(layout, point, before, guards, fired) & ~sides, None, None
    branches = layout.branches.reshape(-1, *(1,) * point.time.ndim)
    before = jnp.where(memory.settling & ~branches, memory.before, before)
    sides = _sides_after(layout, point, before, guards, fired)
    lifted = _lifted(layout, point, before, guards, fired) & ~sides
    settling = jnp.any(lifted & branches, axis=0)
    waits = settling & ~branches
    return jnp.where(waits, memory.sides, sides), lifted & ~waits, settling, before


def _sides_after(
    layout: EventLayout, point: Point, before: Array, guards: Array, fired: Array
) -> Array:
    """On which side of zero guards are after the jump at a point; `before` has what they were
    before it."""
    above = guards > 0
    # A guard that the jump leaves alone stays past its crossing, whatever rounding says. One
    # that the jump itself lifts has its event next. A relay or a branch has another guard then.
    moded = layout.at_start.reshape(-1, *(1,) * point.time.ndim)
    # A steep one may be far below zero just past its crossing.
    alone = (before <= 0) & (guards >= 2 * before)
    near = guards >= -jnp.minimum(2 * before, rounding_of(point, guards))
    stays = fired & ~moded & (above | alone | near)
    return stays | (~fired & point.memory.sides & (above | alone))


def _lifted(layout: EventLayout, point: Point, before: Array, guards: Array, fired: Array) -> Array:
    """Which guards a jump has lifted above zero, so that their events are next; `before` has what
    they were before it.

    A guard that was above zero before is above it by rounding: it is the other side of what has
    just passed zero. A guard that ends a branch which has just begun may be above it by rounding.
    """
    branches = layout.branches.reshape(-1, *(1,) * point.time.ndim)
    least = jnp.where(branches & fired, rounding_of(point, guards), 0)
    return (guards > least) & (fired | (before <= 0))


def rounding_of(point: Point, guards: Array) -> Array:
    """What of guards at a point may be rounding."""
    size = jnp.maximum(jnp.max(jnp.abs(point.state), axis=0), jnp.abs(point.time))
    return ROUNDINGS * jnp.finfo(guards.dtype).eps * size.astype(guards.dtype)


def as_polynomial(state: Array, change: Array, rows: int) -> Array:
    """A jump as the polynomial of a step: the state, and its change over the unit."""
    rest = jnp.zeros((rows - 2, *state.shape), state.dtype)
    return jnp.concatenate([state[None], change[None], rest])
