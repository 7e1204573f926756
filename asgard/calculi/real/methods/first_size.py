"""The size of a run's first step (Hairer, Nørsett and Wanner, *Solving Ordinary Differential
Equations I*, 1993, section II.4)."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ....jaxprs.reductions import largest, smallest
from ..system import Point, StepControl, System
from .method import Reach


def first_size(
    system: System,
    point: Point,
    slope: Array,
    control: StepControl,
    reach: Reach,
    order: int,
) -> Array:
    """A size for the first step, `[*lanes]`, of a method of this order.

    An entry that starts at zero has no scale of its own, and is measured by what it moves by. One
    that starts near zero makes the size at which the slope is probed small, but not the step.
    """
    count = system.differential
    values, speeds = lax.abs(point.state[:count]), lax.abs(slope[:count])
    infinite = jnp.full_like(values, jnp.inf)
    lasts = jnp.where((values > 0) & (speeds > 0), values / speeds, infinite)
    first = 0.01 * smallest(lasts).astype(point.time.dtype)
    longest = jnp.minimum(reach.remaining, control.max_step)
    first = jnp.minimum(jnp.where(first > 0, first, jnp.inf), 0.01 * longest)
    bend = _bend(system, point, slope, reach, first)
    scale = control.atol[:count] + control.rtol[:count] * lax.max(values, first * speeds)
    scale += jnp.finfo(scale.dtype).tiny
    second = largest(bend / scale) / first
    second = jnp.maximum(second, largest(jnp.where(values > 0, speeds / scale, 0)))
    size = jnp.where(second > 0, (0.01 / second) ** (1 / order), 100 * first)
    slowest = largest(jnp.where(jnp.isfinite(lasts), lasts, 0))
    most = lax.max(100 * first, slowest.astype(first.dtype))
    size = jnp.minimum(jnp.where(jnp.isfinite(size), size, first), most)
    return jnp.minimum(size, longest).astype(point.time.dtype)


def within_layer(
    system: System,
    point: Point,
    slope: Array,
    control: StepControl,
    reach: Reach,
    size: Array,
    order: int,
) -> Array:
    """A first size, or a shorter one where a layer begins, as where a stiff system does not start
    in its slow motion, `[*lanes]`.

    An entry whose rate y' changes by y'' moves as exp(-λ t), with λ = |y'' / y'|, by |y' / λ| in
    all. Past a step much longer than 1 / λ its end may be right, but nothing in between.
    """
    count, probe = system.differential, reach.clip(size)[0]
    bend = _bend(system, point, slope, reach, probe)
    values, speeds = lax.abs(point.state[:count]), lax.abs(slope[:count])
    lasts = probe * speeds / bend
    moved = lasts * speeds
    height = moved / (control.atol[:count] + control.rtol[:count] * lax.max(values, moved))
    short = lasts * (0.01 / height) ** (1 / order)
    short = smallest(jnp.where(height > 1, short, jnp.inf)).astype(size.dtype)
    return jnp.where(short > 0, jnp.minimum(short, size), size)


def _bend(system: System, point: Point, slope: Array, reach: Reach, distance: Array) -> Array:
    """By how much the rates change over a distance along the slope, `[differential, *lanes]`."""
    move = jnp.sign(reach.latest - point.time) * distance
    ahead = with_guesses(system, point.state + move * slope, slope)
    rates = system.field(point.time + move, ahead)
    return lax.abs((rates - slope)[: system.differential])


def with_guesses(system: System, state: Array, guesses: Array) -> Array:
    """A state with guesses in the place of its own."""
    if state.shape[0] == system.size:
        return state
    return jnp.concatenate([state[: system.size], guesses[system.size :]])
