"""The plan of a group: what its pieces do at each order along one dimension.

At step m a piece with lag l works on order m + l. Pointwise pieces of one lag that no state stands
between form a segment, which runs as one lifted program.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jaxtyping import Array

from ..circuits.components import components, edges, lags, loose
from ..circuits.terms import brief
from ..errors import CircuitError
from .lifting import Lifted, lift
from .net import Frame, Piece, Value, Wire, promote, wire_dims

# A wire, and the order that a read takes of it, relative to the step.
Read = tuple[Wire, int]


@dataclasses.dataclass(frozen=True)
class Segment:
    """Pointwise pieces of one lag that run as one lifted program.

    `dims` are those of its memory: the remaining dimensions that its inputs depend on.
    """

    ins: tuple[Wire, ...]
    outs: tuple[Wire, ...]
    lag: int
    lifted: Lifted
    dims: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class State:
    """A register or deregister, and its lag."""

    piece: Piece
    lag: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """A group of pieces along `dim`.

    `known` has the wires that are known from outside, with the axis of `dim` first; `is_series`
    says which wires depend on `dim`, and `rest_dims` on which of the other dimensions. `lag` is
    that of the piece that drives a wire.
    """

    dim: str
    frame: Frame
    known: dict[Wire, Value]
    wanted: tuple[Wire, ...]
    is_series: dict[Wire, bool]
    rest_dims: dict[Wire, tuple[str, ...]]
    lag: dict[Wire, int]
    states: tuple[State, ...]
    segments: tuple[Segment, ...] = ()

    @functools.cached_property
    def rest(self) -> Frame:
        """The frame of the remaining dimensions."""
        return self.frame.without(self.dim)

    @property
    def order(self) -> int:
        """The highest order along the dimension."""
        return self.frame.orders[self.dim]

    @property
    def largest_lag(self) -> int:
        """By how many orders the first pieces run ahead."""
        return max((0, *self.lag.values()))

    def length(self, segment: int) -> int:
        """How many orders a segment's buffers hold."""
        return self.order + 1 + self.segments[segment].lag

    def aval(self, wire: Wire) -> jax.ShapeDtypeStruct:
        """The type of a wire's value at one order."""
        return self.known[wire].aval if wire in self.known else self.frame.avals[wire]

    @functools.cached_property
    def reads(self) -> list[Read]:
        """Every read of a wire."""
        found = [(w, segment.lag) for segment in self.segments for w in segment.ins]
        for state in self.states:
            piece = state.piece
            found.append((piece.ins[0], state.lag - piece.delay(self.dim)))
            if piece.dim != self.dim and piece.initial is not None:
                found.append((piece.initial, state.lag))
        return list(dict.fromkeys(found))

    @functools.cached_property
    def slack(self) -> dict[Wire, int]:
        """For each wire that later steps read, how many steps later at most."""
        slack: dict[Wire, int] = {}
        for wire, offset in self.reads:
            if wire in self.lag and self.lag[wire] > offset:
                slack[wire] = max(slack.get(wire, 0), self.lag[wire] - offset)
        return slack

    def kept_history(self, wire: Wire) -> tuple[int, int] | None:
        """The segment and the number of the history that is a wire's series, if there is one."""
        for number, segment in enumerate(self.segments):
            inputs = dict(zip(segment.ins, segment.lifted.inputs, strict=True))
            same = self.lag.get(wire) == segment.lag and not self.rest.dims
            if same and inputs.get(wire) in segment.lifted.memory.histories:
                return number, inputs[wire]
        return None


def plan(
    pieces: Sequence[Piece],
    known: Mapping[Wire, Value],
    wanted: Sequence[Wire],
    dim: str,
    frame: Frame,
) -> Plan:
    """The plan of pieces that a dimension leads, for the values of the wanted wires."""
    depends = wire_dims(pieces, known, frame.dims)
    reads = edges(pieces)
    lag = lags(pieces, reads, dim)
    assert lag is not None
    used = dict.fromkeys(wire for piece in pieces for wire in piece.reads if wire in known)
    group = Plan(
        dim,
        frame,
        known={wire: _lead_axis(known[wire], dim, frame) for wire in used},
        wanted=tuple(dict.fromkeys(wanted)),
        is_series={wire: dim in dims for wire, dims in depends.items()},
        rest_dims={w: tuple(d for d in dims if d != dim) for w, dims in depends.items()},
        lag={w: one for one, piece in zip(lag, pieces, strict=True) for w in piece.outs},
        states=tuple(
            State(piece, one) for one, piece in zip(lag, pieces, strict=True) if piece.sign
        ),
    )
    readers: dict[Wire, set[int]] = {}
    for index, piece in enumerate(pieces):
        for wire in piece.ins:
            readers.setdefault(wire, set()).add(index)
    segments = [
        _segment(group, pieces, members, readers, lag[members[0]])
        for members in _gathered(pieces, reads, lag, dim)
    ]
    return dataclasses.replace(group, segments=tuple(segments))


def _lead_axis(value: Value, dim: str, frame: Frame) -> Value:
    """The value with the axis of `dim` first."""
    rest = tuple(other for other in frame.without(dim).dims if other in value.dims)
    return promote(value, (dim, *rest) if dim in value.dims else rest, frame)


def _gathered(
    pieces: Sequence[Piece], reads: Sequence[Sequence[int]], lag: Sequence[int], dim: str
) -> list[list[int]]:
    """The indices of the pointwise pieces of each segment."""
    pointwise = [index for index, piece in enumerate(pieces) if not piece.sign]
    if any(piece.sign and piece.dim != dim for piece in pieces):
        return [[index] for index in pointwise]
    level, order = _levels(pieces, reads, lag, dim)
    gathered: dict[tuple[int, int], list[int]] = {}
    for index in sorted(pointwise, key=lambda index: order[index]):
        gathered.setdefault((level[index], lag[index]), []).append(index)
    return list(gathered.values())


def _levels(
    pieces: Sequence[Piece], reads: Sequence[Sequence[int]], lag: Sequence[int], dim: str
) -> tuple[list[int], list[int]]:
    """For each piece, how many changes of lag or states come before it, and its turn in order.

    Only reads within one step count: what an earlier step gave is no dependency.
    """
    tight = [
        [other for other in reads[index] if not loose(lag[index], piece.delay(dim), lag[other])]
        for index, piece in enumerate(pieces)
    ]
    level, order = [0] * len(pieces), [0] * len(pieces)
    for turn, component in enumerate(components(tight)):
        (index,) = component.indices
        before = [
            level[other]
            + bool(pieces[index].sign or pieces[other].sign or lag[index] != lag[other])
            for other in tight[index]
        ]
        level[index], order[index] = max(before, default=0), turn
    return level, order


def _segment(
    group: Plan,
    pieces: Sequence[Piece],
    members: Sequence[int],
    readers: Mapping[Wire, set[int]],
    lag: int,
) -> Segment:
    """The segment of some members, lifted as one function."""
    own = [pieces[index] for index in members]
    driven = {wire for piece in own for wire in piece.outs}
    ins = tuple(dict.fromkeys(w for piece in own for w in piece.ins if w not in driven))
    wanted, inside = set(group.wanted), set(members)
    outs = tuple(
        wire
        for piece in own
        for wire in piece.outs
        if wire in wanted or readers.get(wire, set()) - inside
    )

    def run(*arrays: Array) -> list[Array]:
        values = dict(zip(ins, arrays, strict=True))
        for piece in own:
            assert piece.fn is not None
            results = piece.fn(*(values[wire] for wire in piece.ins))
            values.update(zip(piece.outs, results, strict=True))
        return [values[wire] for wire in outs]

    try:
        lifted = _lift(group, run, ins)
    except CircuitError as error:
        raise _of_atom(group, error, own) from None
    depends = {dim for wire in ins for dim in group.rest_dims[wire]}
    dims = tuple(dim for dim in group.rest.dims if dim in depends)
    return Segment(ins, outs, lag, lifted, dims)


def _lift(group: Plan, fn: Callable[..., Any], ins: Sequence[Wire]) -> Lifted:
    return lift(
        fn,
        avals=[group.aval(wire) for wire in ins],
        series=[group.is_series[wire] for wire in ins],
        given=[wire in group.known for wire in ins],
    )


def _of_atom(group: Plan, error: CircuitError, pieces: Sequence[Piece]) -> CircuitError:
    """The error of the first piece that fails by itself, with its atom's name."""
    for piece in itertools.chain(*(piece.members or (piece,) for piece in pieces)):
        if piece.atom is None or piece.fn is None:
            continue
        try:
            _lift(group, piece.fn, piece.ins)
        except CircuitError as own:
            return CircuitError(f"{brief(piece.atom)}: {own}", atoms=[piece.atom])
    return error
