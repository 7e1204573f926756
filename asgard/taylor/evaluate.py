"""The evaluation of a net as power series along several dimensions.

The net's components are gathered into groups that one dimension leads; `along` runs a group order
by order, and what it has to do at one order is again a net, along the dimensions that remain. With
none left, a net is a plain sequence of function calls.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..circuits.components import components, edges, guards, in_order
from .along import Group
from .joining import Joined
from .net import Frame, Piece, Value, Wire, wire_dims


def evaluate(
    pieces: Sequence[Piece], known: Mapping[Wire, Value], wanted: Sequence[Wire], frame: Frame
) -> dict[Wire, Value]:
    """The values of the wanted wires, from those known from outside."""
    pieces = needed(pieces, known, wanted)
    values = dict(known)
    if not frame.dims:
        for piece in in_order(pieces):
            assert piece.fn is not None
            results = piece.fn(*(values[wire].array for wire in piece.ins))
            values.update(
                (wire, Value(array)) for wire, array in zip(piece.outs, results, strict=True)
            )
        return {wire: values[wire] for wire in wanted}
    groups = _groups(pieces, frame.dims)
    for number, (dim, members) in enumerate(groups):
        later = {
            wire for _, others in groups[number + 1 :] for piece in others for wire in piece.reads
        }
        outs = [w for piece in members for w in piece.outs if w in later or w in wanted]
        lead = dim if dim is not None else _lead(members, values, frame.dims)
        if lead is None:
            inner = evaluate(members, values, outs, frame.without(frame.dims[0]))
        else:
            inner = _run(members, values, outs, lead, frame)
        values.update(inner)
    return {wire: values[wire] for wire in wanted}


def _run(
    members: Sequence[Piece],
    values: Mapping[Wire, Value],
    outs: Sequence[Wire],
    lead: str,
    frame: Frame,
) -> dict[Wire, Value]:
    """A group along the dimension that leads it."""
    joined = Joined(members, values, lead, frame)
    frame = dataclasses.replace(frame, avals=joined.avals)
    group = Group(joined.pieces, joined.known, joined.wanted(outs), lead, frame, evaluate)
    return joined.read(outs, group.run())


def needed(
    pieces: Sequence[Piece], known: Mapping[Wire, Any], wanted: Sequence[Wire]
) -> list[Piece]:
    """The pieces that the wanted wires depend on, in their order."""
    source = {wire: place for place, piece in enumerate(pieces) for wire in piece.outs}
    pending = list(wanted)
    kept: set[int] = set()
    while pending:
        wire = pending.pop()
        place = source.get(wire)
        if wire not in known and place is not None and place not in kept:
            kept.add(place)
            pending.extend(pieces[place].reads)
    return [pieces[place] for place in sorted(kept)]


def _groups(pieces: Sequence[Piece], dims: tuple[str, ...]) -> list[tuple[str | None, list[Piece]]]:
    """Components in order, gathered as long as one dimension can lead them all."""
    reads = edges(pieces)
    groups: list[tuple[str | None, list[Piece]]] = []
    for component in components(reads):
        members = [pieces[place] for place in component.places]
        dim = None
        if component.cyclic:
            dim = next(d for d in dims if guards(pieces, reads, component.places, d))
        if groups and (dim is None or groups[-1][0] in (None, dim)):
            lead, gathered = groups[-1]
            gathered.extend(members)
            groups[-1] = (lead or dim, gathered)
        else:
            groups.append((dim, members))
    return groups


def _lead(
    members: Sequence[Piece], values: Mapping[Wire, Value], dims: tuple[str, ...]
) -> str | None:
    """The first dimension that a group without cycles depends on."""
    depends = wire_dims(members, values, dims)
    own = {dim for piece in members for wire in piece.outs for dim in depends[wire]}
    own |= {piece.dim for piece in members if piece.dim is not None}
    return next((dim for dim in dims if dim in own), None)
