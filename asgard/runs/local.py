"""A circuit at one time: how its states move and what it gives, as functions of its states and of
its inputs at that time."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..calculi.calculus import Calculus
from ..calculi.cut import Cut
from ..calculi.discrete.calculus import Discrete
from ..calculi.hybrids import hybrids
from ..calculi.meanings import HYBRID, REAL, noise
from ..calculi.pointwise import Contents, Pointwise, Row
from ..calculi.real.calculus import Real
from ..circuits.atoms.registers import Delay
from ..circuits.circuit import Circuit
from ..circuits.samples import Samples
from ..errors import CircuitError
from ..taylor.net import Value, Wire
from .registers import Registers

DELAY = (
    "a linear system has finitely many states, and a delay by a time holds a whole piece of the "
    "past; a unit delay belongs to Discrete"
)
AHEAD = (
    "the circuit takes a derivative of an input, or reads its next sample, which no linear system "
    "of this kind does: put a filter such as k (u - x), x' = k (u - x), in place of the derivative"
)


@dataclasses.dataclass(frozen=True)
class Local:
    """A circuit at one time.

    - `inputs`: what the input wires carry then.
    - `follow`: from what all cells hold and what goes into them to how they move: their rates,
      or what they hold at the next sample.
    """

    registers: Registers
    time: Array
    inputs: tuple[Array, ...]
    follow: Callable[[Contents, Contents], Contents]

    @property
    def cut(self) -> Cut:
        """The circuit cut at its registers."""
        return self.registers.cut

    def move(self, states: Sequence[Array], inputs: Sequence[Array]) -> tuple[list[Array], Row]:
        """How the states move, and the outputs."""
        pointwise, contents = self.registers.pointwise, self.registers.contents(states)
        given = dict(zip(self.cut.graph.inputs, inputs, strict=True))
        feeds, row = pointwise.sample(self.time, contents, pointwise.start(), given)
        return self.registers.among(self.follow(contents, feeds.values)), row


def local(
    circuit: Circuit, calculus: Calculus, time: Array, sources: tuple[Any, ...], dim: str | None
) -> Local:
    """A circuit at one time under `Real` or `Discrete`, between events.

    Raises `CircuitError` or one of its kind for what is no linear system of finitely many states.
    """
    if isinstance(calculus, Discrete):
        found = _at_sample(circuit, calculus, time, sources, dim)
    else:
        assert isinstance(calculus, Real)
        found = _at_time(circuit, calculus, time, sources, dim)
    _check_real(found)
    return found


def _at_time(
    circuit: Circuit, real: Real, time: Array, sources: tuple[Any, ...], dim: str | None
) -> Local:
    orders = dict(real.order) if isinstance(real.order, tuple) else {}
    cut = Cut.of(
        circuit,
        time,
        sources,
        dim,
        calculus="Real",
        meanings={**REAL, **HYBRID, Delay: DELAY, **noise(real.noise, "Real", "Real")},
        fixed_point=real.fixed_point,
        orders=orders,
    )
    hybrids(cut)
    pointwise = Pointwise(cut, time.dtype, sampled=True)
    time = time.astype(pointwise.time_dtype)
    inputs = plain_inputs(pointwise.inputs(time, {}))
    if _looks_ahead(pointwise):
        raise CircuitError(AHEAD)
    return Local(Registers.of(circuit, pointwise), time, inputs, lambda _, rates: rates)


def _at_sample(
    circuit: Circuit, discrete: Discrete, time: Array, sources: tuple[Any, ...], dim: str | None
) -> Local:
    first = discrete.sequence(circuit, time[None], sources, dim)
    number = jnp.round(time).astype(int)
    rows = {wire: values[0] for wire, values in first.given(number, 1).items()}
    inputs = plain_inputs(first.pointwise.inputs(first.time(number), rows))
    held = tuple(Samples(value[None]) for value in inputs)
    sequence = discrete.sequence(circuit, time[None], held, dim, lines=True)
    if sequence.inputs_ahead:
        raise CircuitError(AHEAD)
    registers = Registers.of(circuit, sequence.pointwise)
    return Local(registers, sequence.time(number), inputs, sequence.after)


def plain_inputs(values: Sequence[Value]) -> tuple[Array, ...]:
    """Input wires as arrays; raises `CircuitError` where one is a series over other dimensions."""
    for index, value in enumerate(values):
        if value.dims:
            raise CircuitError(
                f"input {index} is a stream over {', '.join(value.dims)}; linear analysis takes "
                "inputs that are one value at each time"
            )
    return tuple(value.array for value in values)


def _looks_ahead(pointwise: Pointwise) -> bool:
    """Whether anything reads a derivative of an input along time."""
    if not pointwise.is_series:
        return False
    cut = pointwise.cut
    # The highest derivative that is read of each wire.
    orders: dict[Wire, int] = dict.fromkeys((*pointwise.read, *cut.shown), 0)
    changed = True
    while changed:
        changed = False
        for piece in cut.net.pieces:
            read = max((orders.get(wire, -1) for wire in piece.outs), default=-1)
            read = read - piece.delay(cut.dim) if read >= 0 else -1
            for wire in piece.ins:
                if read > orders.get(wire, -1):
                    orders[wire], changed = read, True
    return any(orders.get(wire, 0) > 0 for wire in cut.graph.inputs)


def _check_real(found: Local) -> None:
    """Raises `CircuitError` where a state, an input or an output is complex."""
    cut = found.cut
    wires = (*(cell.wire for cell in found.registers.cells), *cut.graph.inputs, *cut.graph.outputs)
    if any(jnp.issubdtype(cut.net.avals[wire].dtype, jnp.complexfloating) for wire in wires):
        raise CircuitError(
            "linear analysis is of real states, inputs and outputs, and a wire of this circuit is "
            "complex: carry its real and imaginary parts on two wires"
        )


def input_names(circuit: Circuit, cut: Cut) -> tuple[str, ...]:
    """A name for each input wire: that of the wire, else the block's, else its position."""
    wires = cut.graph.inputs
    own = getattr(circuit, "input_names", ())
    if not own:
        own = [f"input {index}" if len(wires) > 1 else "input" for index in range(len(wires))]
    return tuple(
        next((name for name, named in cut.named.items() if named == wire), given)
        for wire, given in zip(wires, own, strict=True)
    )


def output_names(cut: Cut) -> tuple[str, ...]:
    """A name for each output wire: that of the wire, else its position."""
    found = cut.output_names[: len(cut.graph.outputs)]
    return tuple("output" if name == "the output" else name for name in found)


def entry_names(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> tuple[str, ...]:
    """A name for each number of some arrays, such as `x` or `x[0]`, in the order of `flat`."""
    found = []
    for name, shape in zip(names, shapes, strict=True):
        if not shape:
            found.append(name)
            continue
        found += [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(shape)]
    return tuple(found)


def flat(arrays: Sequence[Array]) -> Array:
    """Arrays side by side in one vector, each with its last axis fastest."""
    return jnp.concatenate([jnp.ravel(x) for x in arrays]) if arrays else jnp.zeros(0)


def apart(vector: Array, like: Sequence[Array]) -> list[Array]:
    """The arrays that `flat` put side by side, of the shapes and dtypes of others."""
    found, start = [], 0
    for x in like:
        found.append(vector[start : start + x.size].reshape(x.shape).astype(x.dtype))
        start += x.size
    return found
