"""A sequence: a circuit as a scan over samples."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from ...circuits.atoms.events import Clock, Hybrid, Pulse
from ...circuits.atoms.registers import Deregister, Register, Substitution
from ...circuits.circuit import Circuit
from ...circuits.samples import Samples
from ...circuits.terms import brief
from ...errors import CircuitError
from ...fixed_points.options import FixedPoint
from ...jaxprs.recursion import recur
from ...taylor.net import Wire
from ...taylor.network import Meanings, deregister, guard_wire, line_wire, register
from ..calculus import check_types
from ..cut import Cut
from ..hybrids import hybrids
from ..meanings import FOR_SERIES
from ..pointwise import Contents, Pointwise, Row
from .events import sampled, side_wire, timed
from .lookahead import Lookahead, ahead
from .parallel import contents_of_all

MEANINGS: Meanings = {
    Register: register,
    Deregister: deregister,
    Hybrid: sampled,
    Pulse: timed,
    Clock: timed,
    Substitution: FOR_SERIES,
}


def largest_number(dtype: Any) -> int:
    """The number of a sample from which on a float dtype does not tell it from the next."""
    return 2 ** (jnp.finfo(dtype).nmant + 1)


class Samplewise(eqx.Module):
    """What a sequence's cells hold before sample `number`; `last` is that as a time.

    `guesses` are where the next solves of loops without registers start.
    """

    contents: tuple[Shaped[Array, "..."], ...]
    guesses: tuple[Shaped[Array, "..."], ...]
    number: Int[Array, ""]
    last: Float[Array, ""]


class Sequence:
    """A circuit as a scan over samples.

    `atoms` are the meanings of those that depend on the calculus. Registers are sums, or delays;
    samples run one by one, or in `parallel`.
    """

    def __init__(
        self,
        circuit: Circuit,
        ts: Array,
        inputs: Any,
        dim: str | None,
        fixed_point: FixedPoint,
        *,
        atoms: Meanings,
        sums: bool,
        parallel: bool,
    ):
        self.sums, self.parallel = sums, parallel
        self.samples: dict[int, Samples] = {}
        constants = []
        for index, source in enumerate(inputs):
            if isinstance(source, Samples) and source.ts is None:
                self.samples[index] = source
                constants.append(jnp.zeros(source.values.shape[1:], source.values.dtype))
            else:
                constants.append(source)
        self.cut = Cut.of(
            *(circuit, ts[0], tuple(constants), dim),
            calculus="Discrete",
            meanings={**MEANINGS, **atoms},
            fixed_point=fixed_point,
        )
        changing = [self.cut.graph.inputs[index] for index in self.samples]
        registers = [node for node in self.cut.nodes if isinstance(node.atom, Register)]
        self.summing = {wire for node in registers if self.sums for wire in node.outs}
        ahead = Lookahead(self.cut, self.sums, self.summing, changing)
        self.hybrids = hybrids(self.cut)
        self.pointwise = Pointwise(
            self.cut,
            ts.dtype,
            sampled=True,
            extended=ahead.extended(),
            watched=tuple(map(guard_wire, self.hybrids)),
        )
        self.inputs_ahead = ahead.inputs(self.pointwise)

    def begin(self, number: Array, given: Mapping[Wire, Array]) -> Samplewise:
        """The state from which a sequence starts, with input wires as `run` takes them.

        A guard is where the coordinate of the sample before puts it, with all else as it is at the
        first sample.
        """
        begin = self._blank(number)
        if not self.hybrids:
            return begin
        before, first = self.time(number - 1), {wire: rows[0] for wire, rows in given.items()}
        guards, _ = self.pointwise.watch(before, begin.contents, begin.guesses, first)
        sides = {
            side_wire(wire): (guards[guard_wire(wire)] > 0) & (not atom.at_start)
            for wire, atom in self.hybrids.items()
        }
        cells = zip(self.pointwise.cells, begin.contents, strict=True)
        contents = tuple(sides.get(cell.wire, content) for cell, content in cells)
        return dataclasses.replace(begin, contents=contents)

    def _blank(self, number: Array) -> Samplewise:
        """A state before a sample, with the initial contents."""
        return Samplewise(self.pointwise.begin(), self.pointwise.start(), number, self.time(number))

    def given(self, first: Array, count: int) -> dict[Wire, Array]:
        """The input wires with samples, from sample number `first` on; their ends are held."""
        samples = {self.cut.graph.inputs[index]: held for index, held in self.samples.items()}
        found = {}
        for wire, later in [*((wire, 0) for wire in samples), *self.inputs_ahead]:
            values = samples[wire].values
            numbers = jnp.clip(first + later + jnp.arange(count), 0, values.shape[0] - 1)
            found[ahead(wire, later)] = values[numbers]
        return found

    def run(
        self, start: Samplewise, count: int, given: Mapping[Wire, Array]
    ) -> tuple[Samplewise, Samplewise, Row, Bool[Array, ""]]:
        """So many samples: the state after them and before the last, a row for each, and whether
        they ran as a kernel."""
        if self.parallel:
            return *self._run_in_parallel(start, count, given), jnp.zeros((), bool)
        wires = list(given)

        def step(states: tuple[Samplewise, Samplewise], samples: list[Array]) -> Any:
            state, _ = states
            given, now = dict(zip(wires, samples, strict=True)), self.time(state.number)
            feeds, row = self.pointwise.sample(now, state.contents, state.guesses, given)
            contents = self.after(state.contents, feeds.values)
            after = Samplewise(contents, feeds.guesses, state.number + 1, state.last)
            # A wire of 5e7 samples that is an output and named is written once.
            return (after, state), (self.pointwise.shown(row), row.solves)

        ((end, before), rows), kernel = recur(step, (start, start), list(given.values()), count)
        # Once, and not at each sample. Integers that are counted to their end stay there.
        most = jnp.iinfo(end.number.dtype).max
        number = jnp.where(end.number < start.number, most, end.number)
        end = dataclasses.replace(end, number=number, last=self.time(number))
        before = dataclasses.replace(before, last=self.time(before.number))
        return end, before, self.pointwise.row(*rows), kernel

    def _run_in_parallel(
        self, start: Samplewise, count: int, given: Mapping[Wire, Array]
    ) -> tuple[Samplewise, Samplewise, Row]:
        """The same by an associative scan."""
        if self.cut.net.loops:
            raise CircuitError(
                f"Discrete(parallel=True): {self.cut.loop_names[0]} is a loop that no register "
                "cuts, which is solved sample by sample"
            )
        for atom in self.hybrids.values():
            raise CircuitError(
                f"Discrete(parallel=True) runs circuits that are linear in what their registers "
                f"hold; {brief(atom)} jumps at events",
                atoms=[atom],
            )
        for cell in self.pointwise.cells:
            if cell.wire == line_wire(cell.node.outs[0]):
                raise CircuitError(
                    f"Discrete(parallel=True): {brief(cell.node.atom)} holds many samples, and "
                    "runs sample by sample",
                    atoms=[cell.node.atom],
                )
        wires, numbers = list(given), start.number + jnp.arange(count)

        def sample(contents: Contents, row: tuple[Array, list[Array]]) -> tuple[Contents, Row]:
            number, samples = row
            values = dict(zip(wires, samples, strict=True))
            feeds, found = self.pointwise.sample(self.time(number), contents, (), values)
            return self.after(contents, feeds.values), found

        rows = (numbers, list(given.values()))
        contents = contents_of_all(
            lambda contents, row: sample(contents, row)[0],
            *(start.contents, rows, self.pointwise.wire_names),
        )
        found = jax.vmap(sample)(jax.tree.map(lambda x: x[:-1], contents), rows)[1]

        def state(index: int) -> Samplewise:
            number = start.number + index
            held = jax.tree.map(lambda x: x[index], contents)
            return Samplewise(held, (), number, self.time(number))

        return state(count), state(count - 1), found

    def time(self, number: Array) -> Array:
        """A sample's number as the coordinate; NaN where its dtype does not tell samples apart, to
        which chunks without end come."""
        dtype = self.pointwise.time_dtype
        limit = min(largest_number(dtype), jnp.iinfo(number.dtype).max)
        return jnp.where((-limit < number) & (number < limit), number.astype(dtype), jnp.nan)

    def checked(self, state: Any) -> Samplewise:
        """A state as one of this circuit's."""
        check_types(state, self._blank(jnp.zeros((), int)), "contents", "guesses")
        return state

    def after(self, contents: Contents, sources: Contents) -> Contents:
        """What the cells hold at the next sample."""
        return tuple(
            content + source if cell.wire in self.summing else source
            for cell, content, source in zip(self.pointwise.cells, contents, sources, strict=True)
        )
