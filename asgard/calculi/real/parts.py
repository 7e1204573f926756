"""The first crossing of guards by pieces: what their pieces compare is searched, too.

A search that reads guards and conditions together finds where the first of them passes zero. What
came before is searched once more, up to the last number before that: there all points lie in one
piece, so no hump is cut short by the next piece. Where a condition has passed zero, the search goes
on behind it. A condition that has pieces of its own is smooth between those of these, so it is
found likewise.

Everything here may have lanes: one more axis at the end.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ...jaxprs.trees import select
from .crossing import INTERVALS, Crossing, Part, Smooth, Values, are_guards, first_crossing
from .system import any_of

# How many searches a step may take. Then it ends.
MOST = 128


class _Search(eqx.Module):
    """A search through the parts of a step, of which the next is from `begin` to `limit`.

    Conditions are multiplied by their `signs`, so that they are not above zero at its beginning.
    `crossed` says that something passes zero just past the limit, at a `distance` where guards and
    conditions are above zero as `above` says.
    """

    begin: Float[Array, "*lanes"]
    limit: Float[Array, "*lanes"]
    width: Float[Array, "*lanes"]
    sides: Bool[Array, "watched *lanes"]
    signs: Float[Array, "watched *lanes"]
    crossed: Bool[Array, "*lanes"]
    distance: Float[Array, "*lanes"]
    above: Bool[Array, "watched *lanes"]
    result: Crossing
    ended: Bool[Array, "*lanes"]
    turns: Int[Array, "*lanes"]


def first_crossing_by_parts(
    values: Values,
    smooth: Smooth | None,
    sides: Array,
    size: Array,
    time: Array,
    active: Array,
    noise: Array | None = None,
) -> Crossing:
    """The first crossing of guards, as `first_crossing` gives it. `values` and what has `fired`
    have conditions behind the guards, of which there are as many as `sides`."""
    shortest = 16 * jnp.finfo(time.dtype).eps * jnp.maximum(jnp.abs(time), size)
    guards = len(sides)

    def is_open(now: _Search) -> Array:
        return active & ~now.ended

    def turn(now: _Search) -> _Search:
        def signed(distance: Array) -> tuple[Array, Array]:
            found, slopes = values(distance)
            # A condition that is no number, as in a piece that is not taken, has no sides.
            unknown = jnp.isnan(found) & ~are_guards(found, guards)
            found, slopes = now.signs * found, now.signs * slopes
            return jnp.where(unknown, -1, found), jnp.where(unknown, 0, slopes)

        part = Part(now.begin, now.width, guards)
        given = (signed, smooth, now.sides, now.limit, time, is_open(now))
        found = first_crossing(*given, noise, part)
        return select(is_open(now), _after(now, found, guards, size, shortest), now)

    begun = _begun(values, sides, size, shortest)
    return lax.while_loop(lambda now: any_of(is_open(now)), turn, begun).result


def _begun(values: Values, sides: Array, size: Array, shortest: Array) -> _Search:
    """A search that has read on which sides conditions are at the start of a step: just past it, as
    the last step may have ended where one passes zero."""
    begin, no = jnp.minimum(shortest, size), jnp.zeros(size.shape, bool)
    found, _ = values(begin)
    own = found > 0
    own &= ~are_guards(found, len(sides))
    every = jnp.concatenate([sides, jnp.zeros_like(own[len(sides) :])])
    return _Search(
        begin=begin,
        limit=size,
        width=size / INTERVALS,
        sides=every,
        signs=jnp.where(own, -1, 1).astype(found.dtype),
        crossed=no,
        distance=begin,
        above=every,
        result=Crossing(no, size, jnp.zeros_like(every), sides),
        ended=no,
        turns=jnp.zeros(size.shape, jnp.int32),
    )


def _after(now: _Search, part: Crossing, guards: int, size: Array, shortest: Array) -> _Search:
    """The search after one of a part."""
    assert part.before is not None
    assert part.since is not None
    assert part.sides_since is not None
    found, last = part.found, now.turns + 1 >= MOST
    distance = jnp.where(found, part.distance, now.distance)
    above = jnp.where(found, part.sides, now.above)
    # What came before a crossing is searched again, but where there is next to nothing of it.
    again = found & ~last & (part.before - part.since > shortest)
    crossed = ~again & (found | (now.crossed & (part.distance >= now.limit)))
    fired = ~jnp.where(found, part.sides_since, part.sides) & above & crossed
    happens = jnp.any(fired[:guards], axis=0)
    passes = crossed & ~happens
    sides = jnp.where(crossed, above, part.sides)[:guards]
    came = jnp.where(crossed, distance, part.distance)
    both = jnp.where(are_guards(above, guards), above, False)
    return _Search(
        begin=jnp.where(again, part.since, distance),
        limit=jnp.where(again, part.before, size),
        width=jnp.where(again, part.before - part.since, size / INTERVALS),
        sides=jnp.where(again, part.sides_since, both),
        signs=jnp.where(fired & ~are_guards(fired, guards), -now.signs, now.signs),
        crossed=again,
        distance=distance,
        above=above,
        result=Crossing(happens, came, fired & happens, sides),
        ended=~again & ~passes | last,
        turns=now.turns + 1,
    )
