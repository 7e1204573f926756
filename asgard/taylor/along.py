"""One group of a net along one dimension, order by order: the two drivers.

At step m a piece with lag l works on order m + l. The first steps, up to m = 0, are known when the
program is traced; the steps after that are one `lax.scan`, or are unrolled. What is to be done at
one step is a net along the remaining dimensions, made of lifted segments: pointwise pieces that run
together.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.components import components, edges, lags, loose
from ..circuits.terms import brief
from ..errors import CircuitError
from ..jaxprs.program import trace
from ..jaxprs.scans import scan
from .lifting import Lifted
from .net import Frame, Piece, Value, Wire, promote, resize, wire_dims
from .packing import packed
from .series import Order, with_row
from .step import Progress, Segment, StepNet

_Read = tuple[Wire, int]


class Group:
    """A group of pieces along `dim`: what leads what, and by how much.

    `evaluate` gives the values of the net of one step, along the dimensions that remain.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        known: Mapping[Wire, Value],
        wanted: Sequence[Wire],
        dim: str,
        frame: Frame,
        evaluate: Callable[..., dict[Wire, Value]],
    ):
        self.evaluate = evaluate
        self.dim, self.frame, self.rest = dim, frame, frame.without(dim)
        self.wanted = dict.fromkeys(wanted)
        self.order = frame.orders[dim]
        depends = wire_dims(pieces, known, frame.dims)
        self.is_series = {wire: dim in dims for wire, dims in depends.items()}
        self.rest_dims = {w: tuple(d for d in dims if d != dim) for w, dims in depends.items()}
        reads = edges(pieces)
        lag = lags(pieces, reads, dim)
        assert lag is not None
        self.piece_lag = dict(zip(map(id, pieces), lag, strict=True))
        self.lag = {w: lag[place] for place, piece in enumerate(pieces) for w in piece.outs}
        self.most = max(lag, default=0)
        used = {wire for piece in pieces for wire in (*piece.ins, piece.initial) if wire in known}
        self.known = {wire: self._lead_axis(known[wire]) for wire in used if wire is not None}
        self.states = [piece for piece in pieces if piece.sign]
        self.segments = self._segments(pieces, reads, lag)
        self.slack = self._slack()

    def run(self) -> dict[Wire, Value]:
        """The values of the wanted wires."""
        progress = Progress({}, {}, {})
        found: dict[Wire, list[Array]] = {wire: [] for wire in self.wanted}
        last = self.order if self.frame.unroll else min(self.order, 0)
        for m in range(-self.most, last + 1):
            values, progress = self._step(m, progress)
            for wire in self.wanted:
                if wire in values:
                    found[wire].append(values[wire])
        series = {wire: jnp.stack(found[wire]) for wire in self.wanted if self.is_series[wire]}
        if last < self.order:
            series = self._scan(progress, series)
        return {
            wire: self._assemble(wire, found[wire][0], series.get(wire)) for wire in self.wanted
        }

    def _assemble(self, wire: Wire, first: Array, series: Array | None) -> Value:
        if series is None:
            return Value(first, self.rest_dims[wire])
        return Value(resize(series, self.order + 1), (self.dim, *self.rest_dims[wire]))

    def _scan(self, progress: Progress, series: dict[Wire, Array]) -> dict[Wire, Array]:
        """The wanted series whole, the orders from 1 on by one step of a scan each."""
        histories: dict[tuple[int, int], Array] = {}
        for (number, name), known in progress.histories.items():
            axis = len(self.segments[number].dims)
            stacked = jnp.stack(known, axis=axis) if isinstance(known, list) else known
            histories[number, name] = resize(stacked, self.length(number), axis)
        held = progress.held
        given = {
            (wire, offset): resize(self.known[wire].array, self.order + offset + 1)[1 + offset :]
            for wire, offset in self._reads()
            if wire in self.known and self.is_series[wire]
        }

        # Wires are of many types, and pytrees want keys that sort: so values travel in lists.
        slack, reads, names = list(self.slack), list(given), list(histories)
        kept = {wire: self._history(wire) for wire in series}
        wanted = [wire for wire, key in kept.items() if key is None]

        def body(carry, xs):
            past, buffers, found = carry
            m, rows = xs
            before = Progress(
                dict(zip(slack, past, strict=True)), held, dict(zip(names, buffers, strict=True))
            )
            values, after = self._step(m, before, dict(zip(reads, rows, strict=True)))
            found = [
                with_row(whole, m + self.lag[wire], values[wire])
                for wire, whole in zip(wanted, found, strict=True)
            ]
            buffers = [after.histories[name] for name in names]
            return ([after.past[wire] for wire in slack], buffers, found), None

        steps = jnp.arange(1, self.order + 1, dtype=jnp.int32)
        whole = [resize(series[wire], self.order + 1 + self.lag[wire]) for wire in wanted]
        carry = [progress.past[wire] for wire in slack], list(histories.values()), whole
        numbers = sum(len(s.lifted.constants) + len(s.lifted.held) for s in self.segments)
        (_, buffers, whole), _ = scan(body, carry, (steps, list(given.values())), numbers)
        filled: dict[Any, Any] = dict(zip([*names, *wanted], [*buffers, *whole], strict=True))
        return {wire: filled[wire if key is None else key] for wire, key in kept.items()}

    def _history(self, wire: Wire) -> tuple[int, int] | None:
        """The history that is the series of a wire, if a segment remembers it as such."""
        for number, segment in enumerate(self.segments):
            lifted = segment.lifted
            inputs = dict(zip(segment.ins, lifted.program.inputs, strict=True))
            same = wire in self.lag and self.lag[wire] == segment.lag and not self.rest.dims
            if same and inputs.get(wire) in lifted.histories:
                return number, inputs[wire]
        return None

    def _step(
        self, m: Order, progress: Progress, rows: Mapping[_Read, Array] | None = None
    ) -> tuple[dict[Wire, Array], Progress]:
        """One step: every piece at its order. `rows` are the given coefficients, in a scan."""
        net = StepNet(self, m, progress, rows)
        for piece in self.states:
            net.add_state(piece, self.piece_lag[id(piece)])
        for number, segment in enumerate(self.segments):
            net.add_segment(number, segment)
        kept = [w for w in dict.fromkeys([*self.wanted, *self.slack]) if net.has(w)]
        results = self.evaluate(net.pieces, net.known, [*kept, *net.memory], self.rest)

        def array(wire: Wire, dims: tuple[str, ...]) -> Array:
            return promote(results[wire], dims, self.frame).array

        values = {wire: array(wire, self.rest_dims[wire]) for wire in kept}
        past = {
            wire: [values[wire], *progress.past.get(wire, [])][:most]
            for wire, most in self.slack.items()
            if wire in values
        }
        held, histories = dict(progress.held), dict(progress.histories)
        for memory in net.memory:
            value = array(memory, self.segments[memory.segment].dims)
            key = (memory.segment, memory.number)
            if memory.kind == "held":
                held[key] = value
            elif isinstance(m, int):
                histories[key] = [*histories.get(key, []), value]
            else:
                histories[key] = value
        return values, Progress(past, held, histories)

    def _segments(
        self, pieces: Sequence[Piece], reads: Sequence[Sequence[int]], lag: Sequence[int]
    ) -> list[Segment]:
        """Gathers pointwise pieces of one lag between which no state stands."""
        places = [place for place, piece in enumerate(pieces) if not piece.sign]
        if any(piece.sign and piece.dim != self.dim for piece in pieces):
            gathered = [[place] for place in places]
        else:
            level = self._levels(pieces, reads, lag)
            keys: dict[tuple[int, int], list[int]] = {}
            for place in sorted(places, key=lambda place: level[place][1]):
                keys.setdefault((level[place][0], lag[place]), []).append(place)
            gathered = list(keys.values())
        readers: dict[Wire, set[int]] = {}
        for place, piece in enumerate(pieces):
            for wire in piece.ins:
                readers.setdefault(wire, set()).add(place)
        return [self._segment(pieces, members, readers, lag) for members in gathered]

    def _levels(
        self, pieces: Sequence[Piece], reads: Sequence[Sequence[int]], lag: Sequence[int]
    ) -> list[tuple[int, int]]:
        """For each piece: how many changes of lag or states come before it, and its place in order.

        Only reads within one step count: what came in an earlier step is no dependency.
        """
        tight = [
            [o for o in reads[p] if not loose(lag[p], pieces[p].delay(self.dim), lag[o])]
            for p in range(len(pieces))
        ]
        level = [(0, 0)] * len(pieces)
        for count, component in enumerate(components(tight)):
            (place,) = component.places
            level[place] = (
                max(
                    (
                        level[other][0]
                        + bool(pieces[place].sign or pieces[other].sign or lag[place] != lag[other])
                        for other in tight[place]
                    ),
                    default=0,
                ),
                count,
            )
        return level

    def _segment(
        self,
        pieces: Sequence[Piece],
        members: Sequence[int],
        readers: Mapping[Wire, set[int]],
        lag: Sequence[int],
    ) -> Segment:
        chosen = [pieces[place] for place in members]
        driven = {wire for piece in chosen for wire in piece.outs}
        ins = tuple(dict.fromkeys(w for piece in chosen for w in piece.ins if w not in driven))
        inside = set(members)
        outs = tuple(
            wire
            for piece in chosen
            for wire in piece.outs
            if wire in self.wanted or readers.get(wire, set()) - inside
        )

        def run(*arrays: Array) -> list[Array]:
            values = dict(zip(ins, arrays, strict=True))
            for piece in chosen:
                assert piece.fn is not None
                results = piece.fn(*(values[wire] for wire in piece.ins))
                values.update(zip(piece.outs, results, strict=True))
            return [values[wire] for wire in outs]

        try:
            lifted = self._lift(run, ins)
        except CircuitError as error:
            raise self._of_atom(error, chosen) from None
        depends = {dim for wire in ins for dim in self.rest_dims[wire]}
        dims = tuple(dim for dim in self.rest.dims if dim in depends)
        return Segment(ins, outs, lag[members[0]], lifted, dims)

    def _lift(self, fn: Callable[..., Any], ins: Sequence[Wire]) -> Lifted:
        series = [self.is_series[wire] for wire in ins]
        program = packed(trace(fn, *(self.aval(wire) for wire in ins)), series)
        return Lifted(program, series, given=[wire in self.known for wire in ins])

    def _of_atom(self, error: CircuitError, pieces: Sequence[Piece]) -> CircuitError:
        """The error of the first of the pieces that has one by itself, with its atom's name."""
        for piece in itertools.chain(*(piece.members or (piece,) for piece in pieces)):
            if piece.atom is None or piece.fn is None:
                continue
            try:
                self._lift(piece.fn, piece.ins)
            except CircuitError as own:
                return CircuitError(f"{brief(piece.atom)}: {own}", atoms=[piece.atom])
        return error

    def length(self, segment: int) -> int:
        """How many orders a segment's buffers hold."""
        return self.order + 1 + self.segments[segment].lag

    def aval(self, wire: Wire) -> jax.ShapeDtypeStruct:
        return self.known[wire].aval if wire in self.known else self.frame.avals[wire]

    def _lead_axis(self, value: Value) -> Value:
        """The axis of this group's dimension first."""
        rest = tuple(dim for dim in self.rest.dims if dim in value.dims)
        lead = (self.dim,) if self.dim in value.dims else ()
        return promote(value, (*lead, *rest), self.frame)

    def _reads(self) -> list[_Read]:
        """Every read of a wire, with the order it takes relative to the step."""
        found = [(w, segment.lag) for segment in self.segments for w in segment.ins]
        for piece in self.states:
            lag = self.piece_lag[id(piece)]
            found.append((piece.ins[0], lag - piece.delay(self.dim)))
            if piece.dim != self.dim and piece.initial is not None:
                found.append((piece.initial, lag))
        return list(dict.fromkeys(found))

    def _slack(self) -> dict[Wire, int]:
        """For each wire that is read in later steps, how many steps later at most."""
        slack: dict[Wire, int] = {}
        for wire, offset in self._reads():
            if wire in self.lag and self.lag[wire] > offset:
                slack[wire] = max(slack.get(wire, 0), self.lag[wire] - offset)
        return slack
