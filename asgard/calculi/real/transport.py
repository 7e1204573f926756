"""The delays of a cut circuit: which wires they delay, by how much, and what came before."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...circuits.atoms.functions import Function
from ...circuits.atoms.registers import Delay
from ...circuits.graph import Node
from ...circuits.terms import brief
from ...errors import CircuitError, LoopError
from ...taylor.net import Piece, Value, Wire
from ...taylor.network import Meanings, call, register
from ..cut import Cut
from ..meanings import check_by
from .history import DelayLayout


def meaning(node: Node) -> Piece:
    """A delay by a time, as a state atom that a run reads from its history."""
    check_by(node, "Real")
    return register(node)


TRANSPORT: Meanings = {Delay: meaning}


@dataclasses.dataclass(frozen=True)
class Transport:
    """The delays along time, by the wires that they drive.

    `sources` has what each delays, and `derived` those of these that no register drives.
    `direct[k, j]` says that the source of delay k depends on delay j with no register between.
    """

    cut: Cut
    atoms: dict[Wire, Delay]
    sources: dict[Wire, Wire]
    derived: tuple[Wire, ...]
    direct: np.ndarray

    @classmethod
    def of(cls, cut: Cut, registers: Mapping[Wire, Wire]) -> "Transport":
        """Those of a cut circuit.

        Raises `CircuitError` for a history that depends on other dimensions, for what takes
        derivatives, and for loops that no register cuts.
        """
        nodes = [n for n in cut.nodes if isinstance(n.atom, Delay) and n.atom.dim == cut.dim]
        atoms: dict[Wire, Delay] = {node.outs[0]: node.atom for node in nodes}
        sources: dict[Wire, Wire] = {node.outs[0]: node.ins[0] for node in nodes}
        derived = tuple(dict.fromkeys(w for w in sources.values() if w not in registers))
        _check(cut, atoms)
        behind = {out: _behind(cut, atoms, out, source) for out, source in sources.items()}
        direct = np.array([[j in behind[k] for j in atoms] for k in atoms], bool)
        _check_cycles(list(atoms.values()), direct)
        return cls(cut, atoms, sources, derived, direct.reshape(len(atoms), len(atoms)))

    def __bool__(self) -> bool:
        return bool(self.atoms)

    def without(self, pieces: Sequence[Piece]) -> tuple[Piece, ...]:
        """Pieces without those of the delays, whose values the run knows."""
        return tuple(piece for piece in pieces if self.atoms.keys().isdisjoint(piece.outs))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers each delay gives."""
        return tuple(math.prod(self.cut.net.avals[wire].shape) for wire in self.atoms)

    @property
    def entries(self) -> int:
        """How many numbers all delays give."""
        return sum(self.sizes)

    @property
    def carried(self) -> int:
        """How many numbers the state carries for sources that no register drives."""
        return sum(math.prod(self.cut.net.avals[wire].shape) for wire in self.derived)

    def layout(
        self, columns: Mapping[Wire, int], rows: int, deepest: int, is_series: bool
    ) -> DelayLayout:
        """What is static of them; `columns` has the first entry of the state of each source."""
        found, derived = [], []
        for out, source in self.sources.items():
            shape, whole = (self.cut.net.avals[wire].shape for wire in (source, out))
            own = columns[source] + np.arange(math.prod(shape)).reshape(shape)
            found.append(np.broadcast_to(own, whole).reshape(-1))
            derived.append(np.full(math.prod(whole), source in self.derived))
        return DelayLayout(
            sizes=self.sizes,
            columns=np.concatenate(found),
            derived=np.concatenate(derived),
            direct=self.direct,
            rows=rows,
            deepest=deepest,
            is_series=is_series,
        )

    def lags(self, dtype: Any) -> Float[Array, " delays"]:
        """By how much each delays."""
        return jnp.stack([jnp.asarray(atom.by, dtype) for atom in self.atoms.values()])

    def past(self, s: Array, dtype: Any) -> Array:
        """What they give before the start, at the times s, one for each, `[entries]`."""
        found = []
        for index, (wire, atom) in enumerate(self.atoms.items()):
            value = atom.initial
            if isinstance(value, Function):
                (value,) = call(value, s[index])
            found.append(jnp.broadcast_to(value, self.cut.net.avals[wire].shape).reshape(-1))
        return jnp.concatenate(found, dtype=dtype)

    def contents(self, flat: Array) -> dict[Wire, Value]:
        """The wires that they drive, from values `[entries]`, or from series
        `[(order + 1) * entries]`."""
        rows = flat.reshape(-1, self.entries)
        dims = () if len(rows) == 1 else (self.cut.dim,)
        found, first = {}, 0
        for wire, size in zip(self.atoms, self.sizes, strict=True):
            aval = self.cut.net.avals[wire]
            array = rows[:, first : first + size].reshape(len(rows), *aval.shape)
            array = array.real if not jnp.issubdtype(aval.dtype, jnp.complexfloating) else array
            array = array.astype(aval.dtype)
            found[wire] = Value(array if dims else array[0], dims)
            first += size
        return found


def _check(cut: Cut, atoms: Mapping[Wire, Delay]) -> None:
    """Raises where a run has delays, and what does not go together with them."""
    if not atoms:
        return
    for wire, atom in atoms.items():
        if cut.rest[wire]:
            raise CircuitError(
                f"{brief(atom)}: what it delays also depends on {', '.join(cut.rest[wire])}; a "
                "history is one of time alone",
                atoms=[atom],
            )
    (first, *_) = atoms.values()
    losing = [piece for piece in cut.net.pieces if piece.delay(cut.dim) < 0]
    if losing:
        raise CircuitError(
            f"{brief(first)} beside deregister({cut.dim}): a delayed derivative makes an equation "
            "neutral, whose jumps no step smooths, and Real runs none; write the derivative by the "
            "equation of its register, or use x(t - by) itself",
            atoms=[first],
        )


def _behind(cut: Cut, atoms: Mapping[Wire, Delay], out: Wire, source: Wire) -> set[Wire]:
    """The delays that a source depends on with no register between."""
    drives = {wire: piece for piece in cut.net.pieces for wire in piece.outs}
    pending, found, done = [source], set(), set()
    while pending:
        wire = pending.pop()
        if wire in done:
            continue
        done.add(wire)
        if wire in atoms:
            found.add(wire)
            continue
        piece = drives.get(wire)
        if piece is None or piece.sign > 0:
            continue
        if piece.members:
            raise LoopError(
                f"{brief(atoms[out])} delays a wire that depends on itself in a loop without "
                "registers; under Real what goes into a delay is a function of the registers, the "
                "inputs and other delays",
                atoms=[atoms[out]],
            )
        pending.extend(piece.reads)
    return found


def _check_cycles(atoms: Sequence[Delay], direct: np.ndarray) -> None:
    """Raises where delays read each other in a circle with no register in it."""
    reach = direct.copy()
    for _ in atoms:
        reach = reach | (reach.astype(int) @ direct.astype(int) > 0)
    for index, atom in enumerate(atoms):
        if reach[index, index]:
            raise LoopError(
                f"{brief(atom)} delays a wire that depends on what it gives with no register "
                "between: a neutral equation, whose jumps no step smooths, and Real runs none; put "
                "a register on the loop, or run it under Discrete",
                atoms=[atom],
            )
