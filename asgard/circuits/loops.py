"""The loops of a graph, and the dimension that guards each."""

import dataclasses
from collections.abc import Sequence

from ..errors import LoopError
from .circuit import Atom
from .components import HasWires, components, edges, guards, lags, loose, restrict
from .graph import Graph, Node
from .terms import brief


@dataclasses.dataclass(frozen=True)
class Loop:
    """A strongly connected part of a graph that holds a cycle.

    `dim` is the dimension that guards it. It is None for a loop without a guard, which is a fixed
    point if it takes no derivatives. `inner` are the loops that remain when the registers along
    `dim` are cut.
    """

    nodes: tuple[Node, ...]
    dim: str | None
    inner: tuple["Loop", ...] = ()


def loops(graph: Graph, dims: Sequence[str]) -> tuple[Loop, ...]:
    """The loops of a graph, each after those that it reads; the first of `dims` that can guards."""
    return _loops(graph.nodes, edges(graph.nodes), tuple(dims))


def check_loops(nodes: Sequence[Node], dims: Sequence[str], calculus: str) -> None:
    """Raises `LoopError` for a loop with deregisters that no dimension guards; it names the atoms.

    A loop without registers and deregisters is a fixed point, which every calculus solves.
    """
    pending = list(_loops(nodes, edges(nodes), tuple(dims)))
    while pending:
        loop = pending.pop()
        atoms = [node.atom for node in loop.nodes]
        losing = [dim for dim in dims if any(node.delay(dim) < 0 for node in loop.nodes)]
        if loop.dim is None and losing:
            raise LoopError(
                f"{describe(loop)} cannot run under {calculus}: along {', '.join(losing)} it "
                "takes as many derivatives as it integrates, or more; every cycle needs more "
                "registers than deregisters along one dimension, or none of either",
                atoms=atoms,
            )
        pending.extend(loop.inner)


def describe(loop: Loop) -> str:
    """A name of a loop, by its atoms."""
    return through([node.atom for node in loop.nodes])


def through(atoms: Sequence[Atom]) -> str:
    """A name of a loop through these atoms."""
    names = [brief(atom, 30) for atom in atoms]
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"the loop through {shown}"


def _loops(
    nodes: Sequence[HasWires], reads: Sequence[Sequence[int]], dims: tuple[str, ...]
) -> tuple[Loop, ...]:
    found = []
    for component in components(reads):
        if not component.cyclic:
            continue
        inner, inner_reads = restrict(nodes, reads, component.indices)
        dim = next((d for d in dims if guards(nodes, reads, component.indices, d)), None)
        inside: tuple[Loop, ...] = ()
        if dim is not None:
            lag = lags(inner, inner_reads, dim)
            assert lag is not None
            left = [
                [o for o in inner_reads[p] if not loose(lag[p], inner[p].delay(dim), lag[o])]
                for p in range(len(inner))
            ]
            inside = _loops(inner, left, tuple(d for d in dims if d != dim))
        found.append(Loop(tuple(inner), dim, inside))  # pyright: ignore[reportArgumentType]
    return tuple(found)
