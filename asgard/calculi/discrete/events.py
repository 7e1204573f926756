"""Events at samples: what a hybrid atom holds at the next one, and on which side its guard is left.

An event happens at a sample whose guard is above zero, where the sample before left it at zero or
below. As a register's, the output is what the samples before have made of the content: the content
after an event shows at the next sample.

Both the content and the side are unit delays of what is computed here, so that samples ahead and
chunks know nothing of events.
"""

from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
from jaxtyping import Array

from ...circuits.atoms.events import Clock, Hybrid, Pulse
from ...circuits.graph import Node
from ...circuits.terms import brief
from ...errors import CircuitError
from ...taylor.net import Piece, Wire
from ...taylor.network import (
    call,
    coordinate_wire,
    guard_wire,
    hybrid,
    initial_wire,
    jump_wire,
    rate_wire,
)
from ..hybrids import jumped


def side_wire(wire: Wire) -> Wire:
    """Whether the sample before left the guard of the atom that drives `wire` above zero."""
    return ("side", wire)


def sampled(node: Node) -> Sequence[Piece]:
    """A hybrid atom: its rate, guard and jump, its content, and the side of its guard."""
    atom, (out,) = cast(Hybrid, node.atom), node.outs
    rate, guard, jump, side = rate_wire(out), guard_wire(out), jump_wire(out), side_wire(out)
    left, following = ("left", out), ("following", out)

    def after(content: Array, rate: Array, guard: Array, jump: Array, side: Array) -> tuple[Array]:
        _check(atom, content, rate)
        return (jumped(_above(guard) & ~side, jump, content + rate, guard),)

    def after_side(
        content: Array, guard: Array, jump: Array, side: Array, *inputs: Array
    ) -> tuple[Array]:
        fired = _above(guard) & ~side
        # The guard may read the content, as a relay's does: an event leaves it where the new one
        # puts it.
        kept = jumped(fired, jump, content, guard)
        (found,) = call(atom, kept, *inputs, rule=atom.guard)
        return (jnp.where(fired, _above(found), _above(guard)),)

    flow = [piece for piece in hybrid(node) if piece.sign == 0]
    return [
        *flow,
        Piece((out, rate, guard, jump, side), (following,), fn=after, atom=atom),
        Piece((following,), (out,), sign=1, dim=atom.dim, initial=initial_wire(out)),
        Piece((out, guard, jump, side, *node.ins), (left,), fn=after_side, atom=atom),
        Piece((left,), (side,), sign=1, dim=atom.dim, initial=initial_wire(side)),
    ]


def timed(node: Node) -> Piece:
    """A pulse or a clock, which reads the number of the sample."""
    atom = cast(Pulse | Clock, node.atom)
    ins = (coordinate_wire(atom.dim),)
    return Piece(ins, node.outs, fn=lambda n: call(atom, n, rule=atom.at_sample), atom=atom)


def _above(guard: Array) -> Array:
    """Whether a guard is above zero; a complex one is refused once all types are known."""
    return jnp.real(guard) > 0


def _check(atom: Hybrid, content: Array, rate: Array) -> None:
    """Raises where a content and its rate have no common shape."""
    try:
        jnp.broadcast_shapes(content.shape, rate.shape)
    except ValueError as error:
        raise CircuitError(
            f"{brief(atom)}: its initial content has shape {content.shape}, but what it reads has "
            f"{rate.shape}",
            atoms=[atom],
        ) from error
