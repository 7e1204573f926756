"""The Discrete calculus: wires carry sequences, and a register is the running sum or a delay."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from ...circuits.atoms.registers import Delay
from ...circuits.circuit import Circuit
from ...circuits.fields import as_inexact, check_choice, check_count
from ...circuits.samples import Samples
from ...circuits.terms import brief
from ...errors import CircuitError, DegreeError
from ...fixed_points.options import FixedPoint, check_fixed_point
from ...jaxprs.concrete import is_concrete
from ...jaxprs.meshes import without_mesh
from ...jaxprs.settings import default_promotion
from ...taylor.net import Wire
from ..calculus import Calculus
from ..meanings import noise
from ..stretches import Stretches
from ..trajectory import Trajectory
from .delays import delay_of, longest
from .sampled_run import SampledRun
from .sequence import Samplewise, Sequence, largest_number


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
    - `span`: `ts[-1] - ts[0]`, a count, or the most that it is; needed only where `ts` is traced.
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
        limit = largest_number(ts.dtype)
        if np.any(np.abs(numbers) >= limit):
            raise CircuitError(
                f"Discrete: ts has sample numbers of {limit} or more, which {ts.dtype} does "
                "not tell apart; use float64, or feed chunks by ag.compile"
            )
        span = int(numbers[-1] - numbers[0])
        if self.span not in (None, span):
            raise CircuitError(f"Discrete: span is {self.span}, but ts spans {span} samples")
        return dataclasses.replace(self, span=span)

    def takes(self, ts: Array) -> Array:
        whole = jnp.all((ts == jnp.round(ts)) & (jnp.abs(ts) < largest_number(ts.dtype)))
        span = ts[-1] - ts[0]
        return whole & (span >= 0) & (span <= (span if self.span is None else self.span))

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

    def _run(self, circuit: Circuit, ts: Array, inputs: Any, dim: Any, state: Any) -> SampledRun:
        if self.span is None:
            raise CircuitError(
                "Discrete: ts is traced: give it as a list or an array of NumPy, or say how far it "
                "spans: span=ts[-1] - ts[0]"
            )
        return SampledRun(self.sequence(circuit, ts, inputs, dim), ts, self.span + 1, state)

    def sequence(
        self, circuit: Circuit, ts: Array, inputs: Any, dim: str | None, lines: bool = False
    ) -> Sequence:
        """A circuit as a scan over samples, inside a trace; `lines` are for one that is read at one
        sample."""
        return Sequence(
            *(circuit, ts, inputs, dim, self.fixed_point),
            atoms={
                Delay: delay_of(self.max_delay, lines),
                **noise(self.noise, "Discrete", "Discrete"),
            },
            sums=self.register == "sum",
            parallel=self.parallel,
        )

    def compile(self, circuit: Circuit) -> Callable[[Any, Any], tuple[Any, Any]]:
        def run(inputs: Any, state: Any = None) -> tuple[Any, Any]:
            return _compiled(
                circuit, self.for_circuit(circuit, None), _samples(circuit, inputs), state
            )

        return run


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
    first = jnp.zeros((), int)
    start = sequence.begin(first, given) if state is None else sequence.checked(state)
    end, _, rows, _ = sequence.run(start, len(inputs[0]), given)
    return rows.outputs[0] if len(rows.outputs) == 1 else rows.outputs, end
