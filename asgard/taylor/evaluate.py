"""The evaluation of a net as power series along several dimensions.

The net's components are gathered into groups that one dimension leads. A group runs order by order,
and what it does at one order is again a net, along the dimensions that remain: `evaluate` calls
itself. With no dimension left, a net is a plain sequence of function calls.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.components import components, edges, guards, in_order
from ..jaxprs.scans import scan
from .joining import Joined
from .net import Frame, Piece, Value, Wire, resize, wire_dims
from .plan import Plan, Read, plan
from .series import Order, with_row
from .step import Progress, StepNet


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
    group = plan(joined.pieces, joined.known, joined.wanted(outs), lead, frame)
    return joined.read(outs, _series(group))


def _series(group: Plan) -> dict[Wire, Value]:
    """The wanted wires of a group, order by order.

    The steps up to order 0 are known when the program is traced. Those after that are one
    `lax.scan`, or unrolled.
    """
    progress = Progress({}, {}, {})
    found: dict[Wire, list[Array]] = {wire: [] for wire in group.wanted}
    last = group.order if group.frame.unroll else min(group.order, 0)
    for m in range(-group.largest_lag, last + 1):
        values, progress = _step(group, m, progress)
        for wire in group.wanted:
            if wire in values:
                found[wire].append(values[wire])
    series = {wire: jnp.stack(found[wire]) for wire in group.wanted if group.is_series[wire]}
    if last < group.order:
        series = _scan(group, progress, series)
    constants = {
        wire: Value(found[wire][0], group.rest_dims[wire])
        for wire in group.wanted
        if wire not in series
    }
    return constants | {
        wire: Value(resize(array, group.order + 1), (group.dim, *group.rest_dims[wire]))
        for wire, array in series.items()
    }


def _step(
    group: Plan, m: Order, progress: Progress, rows: Mapping[Read, Array] | None = None
) -> tuple[dict[Wire, Array], Progress]:
    """Step m, along the dimensions that remain. `rows` are the given coefficients, in a scan."""
    net = StepNet(group, m, progress, rows)
    return net.read(evaluate(net.pieces, net.known, net.wanted, group.rest))


def _scan(group: Plan, progress: Progress, series: dict[Wire, Array]) -> dict[Wire, Array]:
    """The wanted series whole, the orders from 1 on by one step of a scan each."""
    histories: dict[tuple[int, int], Array] = {}
    for (number, name), known in progress.histories.items():
        axis = len(group.segments[number].dims)
        stacked = jnp.stack(known, axis=axis) if isinstance(known, list) else known
        histories[number, name] = resize(stacked, group.length(number), axis)
    given = {
        (wire, offset): resize(group.known[wire].array, group.order + offset + 1)[1 + offset :]
        for wire, offset in group.reads
        if wire in group.known and group.is_series[wire]
    }

    # Wires are of many types, and pytrees want keys that sort: so values travel in lists.
    slack, reads, names = list(group.slack), list(given), list(histories)
    kept = {wire: group.kept_history(wire) for wire in series}
    wanted = [wire for wire, key in kept.items() if key is None]

    def body(carry, xs):
        past, buffers, found = carry
        m, rows = xs
        before = Progress(
            dict(zip(slack, past, strict=True)),
            progress.held,
            dict(zip(names, buffers, strict=True)),
        )
        values, after = _step(group, m, before, dict(zip(reads, rows, strict=True)))
        found = [
            with_row(whole, m + group.lag[wire], values[wire])
            for wire, whole in zip(wanted, found, strict=True)
        ]
        buffers = [after.histories[name] for name in names]
        return ([after.past[wire] for wire in slack], buffers, found), None

    steps = jnp.arange(1, group.order + 1, dtype=jnp.int32)
    whole = [resize(series[wire], group.order + 1 + group.lag[wire]) for wire in wanted]
    carry = [progress.past[wire] for wire in slack], list(histories.values()), whole
    lifted = [segment.lifted for segment in group.segments]
    numbers = sum(len(one.instructions.constants) + len(one.memory.held) for one in lifted)
    (_, buffers, whole), _ = scan(body, carry, (steps, list(given.values())), numbers)
    filled: dict[Any, Any] = dict(zip([*names, *wanted], [*buffers, *whole], strict=True))
    return {wire: filled[wire if key is None else key] for wire, key in kept.items()}


def needed(
    pieces: Sequence[Piece], known: Mapping[Wire, Any], wanted: Sequence[Wire]
) -> list[Piece]:
    """The pieces that the wanted wires depend on, in their order."""
    source = {wire: index for index, piece in enumerate(pieces) for wire in piece.outs}
    pending = list(wanted)
    kept: set[int] = set()
    while pending:
        wire = pending.pop()
        index = source.get(wire)
        if wire not in known and index is not None and index not in kept:
            kept.add(index)
            pending.extend(pieces[index].reads)
    return [pieces[index] for index in sorted(kept)]


def _groups(pieces: Sequence[Piece], dims: tuple[str, ...]) -> list[tuple[str | None, list[Piece]]]:
    """Components in order, gathered as long as one dimension can lead them all."""
    reads = edges(pieces)
    groups: list[tuple[str | None, list[Piece]]] = []
    for component in components(reads):
        members = [pieces[index] for index in component.indices]
        dim = None
        if component.cyclic:
            dim = next(d for d in dims if guards(pieces, reads, component.indices, d))
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
