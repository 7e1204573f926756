"""The Discrete calculus: wires carry sequences, and a register is the running sum or a delay."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact, Int, Shaped

from ...circuits.atoms.events import Hybrid
from ...circuits.atoms.registers import Delay, Deregister, Register, Substitution
from ...circuits.circuit import Circuit
from ...circuits.fields import as_inexact, check_choice, check_count
from ...circuits.samples import Samples
from ...circuits.terms import brief
from ...errors import CircuitError, DegreeError
from ...fixed_points.options import FixedPoint, check_fixed_point
from ...jaxprs.concrete import is_concrete
from ...jaxprs.meshes import without_mesh
from ...jaxprs.recursion import recur
from ...jaxprs.settings import default_promotion
from ...taylor.net import Wire
from ...taylor.network import Meanings, deregister, guard_wire, line_wire, register
from ..calculus import Calculus, check_types
from ..cut import Cut
from ..hybrids import hybrids
from ..meanings import FOR_SERIES, noise
from ..pointwise import Contents, Pointwise, Row
from ..scanned import Scanned, blank, rows_a_turn, stretch
from ..stretches import Stand, Stretches, unended
from ..trajectory import Trajectory
from .delays import delay_of, longest
from .events import sampled, side_wire
from .lookahead import Lookahead, ahead
from .parallel import contents_of_all

MEANINGS: Meanings = {
    Register: register,
    Deregister: deregister,
    Hybrid: sampled,
    Substitution: FOR_SERIES,
}


class Discrete(Calculus):
    """Functions on 0, 1, 2, …: `register` is the sum of the samples before, `delay` the unit delay.

    With "sum" x = x0 + register(g(x)) is the difference equation x[n + 1] - x[n] = g(x[n]), the
    calculus of finite differences: e^t becomes 2^n. A deregister is the inverse, the difference to
    the sample after, or that sample under "delay"; an input stays at its last sample. A run is one
    `lax.scan` over samples.

    Events are at samples, and their outcome shows at the next one: `docs/discrete.md` says how.

    **Arguments:**

    - `register`: "sum", or "delay", with which a register shifts by one sample as `Delay` does.
    - `noise`: "off" runs a circuit with noise by its drift alone; "error" refuses.
    - `span`: `ts[-1] - ts[0]`, a count; needed only where `ts` is traced.
    - `fixed_point`: how loops that no register cuts are solved, at every sample.
    - `max_delay`: the most samples that a delay takes; needed only where a `by` is traced.
    - `parallel`: whether the run is an associative scan, `log2(samples)` passes over all samples.
      The values are the same up to rounding. It is for long sequences on accelerators, for circuits
      that are linear in what their registers hold and have no loops without registers. On a CPU
      the plain scan is faster.

    **Raises:** `CircuitError` for options out of range; with `parallel`, for circuits that are not
    linear.

    ```python
    growth = ag.ode(lambda n, x: x, 1.0, dim="n")
    ag.simulate(growth, [0, 1, 2, 3], calculus=ag.Discrete()).output  # 1, 2, 4, 8
    ```
    """

    register: str = eqx.field(static=True, default="sum")
    noise: str = eqx.field(static=True, default="error")
    span: int | None = eqx.field(static=True, default=None)
    fixed_point: FixedPoint = eqx.field(default_factory=FixedPoint)
    parallel: bool = eqx.field(static=True, default=False)
    max_delay: int | None = eqx.field(static=True, default=None)
    gapless = True

    def __check_init__(self):
        check_choice("Discrete", "register", self.register, ("sum", "delay"))
        check_choice("Discrete", "noise", self.noise, ("error", "off"))
        if self.span is not None:
            check_count("Discrete", "span", self.span)
        if self.max_delay is not None:
            check_count("Discrete", "max_delay", self.max_delay, least=1)
        check_fixed_point("Discrete", self.fixed_point)

    def settled(self, ts: Array) -> "Discrete":
        if not is_concrete(ts):
            return self
        numbers = np.asarray(ts)
        if np.any(numbers != np.round(numbers)) or np.any(np.diff(numbers) < 0):
            raise CircuitError("Discrete: ts are sample numbers, integers that increase")
        limit = 2.0 ** (jnp.finfo(ts.dtype).nmant + 1)
        if np.any(np.abs(numbers) >= limit):
            raise CircuitError(
                f"Discrete: ts has sample numbers of {limit:.0f} or more, which {ts.dtype} does "
                "not tell apart; use float64, or feed chunks by ag.compile"
            )
        span = int(numbers[-1] - numbers[0])
        if self.span not in (None, span):
            raise CircuitError(f"Discrete: span is {self.span}, but ts spans {span} samples")
        return dataclasses.replace(self, span=span)

    def for_circuit(self, circuit: Circuit, ts: Array | None) -> "Discrete":
        del ts
        leaves = jax.tree.leaves(circuit, is_leaf=lambda node: isinstance(node, Delay))
        known = longest([leaf for leaf in leaves if isinstance(leaf, Delay)])
        if known is None or self.max_delay is None:
            return self if known is None else dataclasses.replace(self, max_delay=known)
        if known > self.max_delay:
            raise CircuitError(
                f"Discrete: max_delay is {self.max_delay}, but a delay takes {known} samples"
            )
        return self

    def simulate(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Trajectory:
        return self._run(circuit, ts, inputs, dim, state).whole()

    def stretches(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Stretches[Any]:
        if self.parallel:
            return super().stretches(circuit, ts, inputs, dim, state)
        return self._run(circuit, ts, inputs, dim, state)

    def _run(self, circuit: Circuit, ts: Array, inputs: Any, dim: Any, state: Any) -> "SampledRun":
        if self.span is None:
            raise CircuitError(
                "Discrete: ts is traced: give it as a list or an array of NumPy, or say how far it "
                "spans: span=ts[-1] - ts[0]"
            )
        return SampledRun(self.sequence(circuit, ts, inputs, dim), ts, self.span + 1, state)

    def sequence(self, circuit: Circuit, ts: Array, inputs: Any, dim: str | None) -> "Sequence":
        """A circuit as a scan over samples, inside a trace."""
        return Sequence(
            *(circuit, ts, inputs, dim, self.fixed_point),
            atoms={Delay: delay_of(self.max_delay), **noise(self.noise, "Discrete", "Discrete")},
            sums=self.register == "sum",
            parallel=self.parallel,
        )

    def compile(self, circuit: Circuit) -> Callable[[Any, Any], tuple[Any, Any]]:
        def run(inputs: Any, state: Any = None) -> tuple[Any, Any]:
            return _compiled(
                circuit, self.for_circuit(circuit, None), _samples(circuit, inputs), state
            )

        return run


class SampledRun(Stretches[Scanned]):
    """A run over samples."""

    def __init__(self, sequence: "Sequence", ts: Array, count: int, state: Any):
        self.sequence, self.ts, self.count = sequence, ts, count
        self.first = jnp.round(ts[0]).astype(jnp.int32)
        self.given = sequence.given(self.first, count)
        begins = state is None
        self.start = sequence.begin(self.first, self.given) if begins else sequence.checked(state)

    def whole(self) -> Trajectory:
        """All samples, in one go."""
        # The last sample is read, and not yet summed: the run goes on from there.
        _, end, rows, kernel = self.sequence.run(self.start, self.count, self.given)
        return self.trajectory(end, rows, kernel)

    def trajectory(
        self, end: "Samplewise", rows: Row, kernel: Array, done: Array | None = None
    ) -> Trajectory:
        """What all samples give, or those that are done."""
        ts, count = self.ts, self.count
        rows, status, stats = rows.judged(ts[0] + jnp.arange(count, dtype=ts.dtype), done)
        outputs, names = rows.outputs, rows.names
        if ts.shape[0] < count:
            numbers = jnp.round(ts).astype(jnp.int32) - self.first
            outputs, names = jax.tree.map(lambda rows: rows[numbers], (outputs, names))
        return Trajectory(
            ts=ts,
            outputs=outputs,
            names=names,
            status=status,
            stats={**stats, "kernel": kernel},
            state=dataclasses.replace(end, last=ts[-1]),
            loops=self.sequence.cut.loop_names,
            wires=self.sequence.cut.output_names,
        )

    def blank(self) -> Scanned:
        return blank(self._some, self._begin, self.count)

    def advance(self, now: Scanned, turns: Array) -> Scanned:
        size = rows_a_turn(self.start.contents, self.count)
        return stretch(self._some, self._begin, self.count, size, now, turns)

    def stand(self, now: Scanned) -> Stand:
        last = jnp.maximum(now.done - 1, 0)
        return Stand(now.done == self.count, self.ts[0] + last.astype(self.ts.dtype), last)

    def read(self, now: Scanned) -> Trajectory:
        rows = self.sequence.pointwise.row(*now.rows)
        _, end, kernel = now.carry
        return unended(self.trajectory(end, rows, kernel, now.done), now.done == self.count)

    @property
    def _begin(self) -> tuple["Samplewise", "Samplewise", Array]:
        return self.start, self.start, jnp.zeros((), bool)

    def _some(self, carry: Any, first: Array, size: int) -> tuple[Any, Any]:
        """Some samples from number `first` of the run on: the wires that are shown, each once, and
        how loops were solved."""
        given = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, size), self.given)
        after, before, rows, kernel = self.sequence.run(carry[0], size, given)
        return (after, before, kernel), (self.sequence.pointwise.shown(rows), rows.solves)


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
            number = state.number + 1
            contents = self.after(state.contents, feeds.values)
            after = Samplewise(contents, feeds.guesses, number, self.time(number))
            # A wire of 5e7 samples that is an output and named is written once.
            return (after, state), (self.pointwise.shown(row), row.solves)

        ((end, before), rows), kernel = recur(step, (start, start), list(given.values()), count)
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
        wires, numbers = list(given), start.number + jnp.arange(count, dtype=jnp.int32)

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
        """A sample's number as the coordinate."""
        return number.astype(self.pointwise.time_dtype)

    def checked(self, state: Any) -> Samplewise:
        """A state as one of this circuit's."""
        check_types(state, self._blank(jnp.zeros((), jnp.int32)), "contents", "guesses")
        return state

    def after(self, contents: Contents, sources: Contents) -> Contents:
        """What the cells hold at the next sample."""
        return tuple(
            content + source if cell.wire in self.summing else source
            for cell, content, source in zip(self.pointwise.cells, contents, sources, strict=True)
        )


def _samples(circuit: Circuit, inputs: Any) -> tuple[Inexact[Array, "samples ..."], ...]:
    """One array of samples for each input wire, all of one length."""
    if not isinstance(inputs, tuple | list) or len(inputs) != circuit.n_in:
        raise DegreeError(
            f"{brief(circuit)} takes {circuit.n_in} input{'s'[: circuit.n_in != 1]}: give a tuple "
            "with an array [samples, *value] for each wire"
        )
    if circuit.n_in == 0:
        raise CircuitError(
            "a circuit without inputs does not say how many samples to run: use simulate"
        )
    arrays = tuple(as_inexact(f"input {index}", given) for index, given in enumerate(inputs))
    if any(array.ndim == 0 for array in arrays) or len({len(array) for array in arrays}) != 1:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise CircuitError(
            f"inputs are arrays [samples, *value] with one number of samples, not {shapes}"
        )
    if len(arrays[0]) == 0:
        raise CircuitError("a chunk has at least one sample")
    return arrays


@jax.jit
@without_mesh
@default_promotion()
def _compiled(
    circuit: Circuit, discrete: Discrete, inputs: tuple[Array, ...], state: Any
) -> tuple[Any, Samplewise]:
    ts = jnp.zeros(1, jnp.result_type(float))
    sequence = discrete.sequence(circuit, ts, tuple(map(Samples, inputs)), None)
    if sequence.inputs_ahead:
        raise CircuitError(
            "a deregister reads its input a sample ahead, which the end of a chunk does not have: "
            "run the whole sequence by simulate, or take x - delay(x), the backward difference"
        )
    given: dict[Wire, Array] = dict(zip(sequence.cut.graph.inputs, inputs, strict=True))
    first = jnp.zeros((), jnp.int32)
    start = sequence.begin(first, given) if state is None else sequence.checked(state)
    end, _, rows, _ = sequence.run(start, len(inputs[0]), given)
    return rows.outputs[0] if len(rows.outputs) == 1 else rows.outputs, end
