"""The hybrid atoms of a cut circuit; and how they jump in calculi with a fixed step."""

import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.atoms.events import Hybrid
from ..circuits.terms import brief
from ..errors import CircuitError
from ..taylor.net import Wire
from ..taylor.network import guard_wire, jump_wire
from .cut import Cut


def hybrids(cut: Cut) -> dict[Wire, Hybrid]:
    """The hybrid atoms along time, by the wires that they drive.

    Raises `CircuitError` where their types do not fit.
    """
    found: dict[Wire, Hybrid] = {
        node.outs[0]: node.atom
        for node in cut.nodes
        if isinstance(node.atom, Hybrid) and node.atom.dim == cut.dim
    }
    for wire, atom in found.items():
        _check(cut, wire, atom)
    return found


def jumped(fired: Array, jump: Array, content: Array, guard: Array) -> Array:
    """The content after a step: what it jumps to where its guard has fired, else what it was.

    A guard that is NaN says nothing of events, so the content is NaN too.
    """
    after = jnp.where(_like(fired, content), _like(jump, content).astype(content.dtype), content)
    return jnp.where(_like(jnp.isnan(guard), content), jnp.nan, after).astype(content.dtype)


def _like(value: Array, content: Array) -> Array:
    """A guard or a jump in its content's shape.

    Types are inferred before they are checked, so what does not fit gives zeros, and is refused by
    `hybrids`.
    """
    value = jnp.real(value)
    if not _fits(value.shape, content.shape):
        return jnp.zeros(content.shape, value.dtype)
    return jnp.broadcast_to(value, content.shape)


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a shape broadcasts to another one."""
    missing = len(whole) - len(shape)
    return missing >= 0 and all(
        size in (1, full) for size, full in zip(shape, whole[missing:], strict=True)
    )


def _check(cut: Cut, wire: Wire, atom: Hybrid) -> None:
    """Raises where a content is not real, or its guard or jump has another shape."""
    content = cut.net.avals[wire]
    if cut.rest[wire]:
        raise CircuitError(
            f"{brief(atom)}: the content also depends on {', '.join(cut.rest[wire])}; events are "
            "those of one time",
            atoms=[atom],
        )
    for name, other in (("guard", guard_wire(wire)), ("jump", jump_wire(wire))):
        found = cut.net.avals[other]
        if any(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in (content, found)):
            raise CircuitError(f"{brief(atom)}: events are those of real wires", atoms=[atom])
        if not _fits(found.shape, content.shape):
            raise CircuitError(
                f"{brief(atom)}: its {name} has the shape {found.shape}, which does not fit its "
                f"content's, {content.shape}",
                atoms=[atom],
            )
