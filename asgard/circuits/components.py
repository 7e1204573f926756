"""Strongly connected components, and the dimensions that guard them.

A loop can run along a dimension if no cycle in it has a negative delay: then each wire is known to
some order before the nodes that read it. `lags` finds how many orders ahead of the others each node
must run (a retiming).
"""

import collections
import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from ..errors import LoopError


@runtime_checkable
class Wired(Protocol):
    """What the analysis needs of a node."""

    @property
    def ins(self) -> tuple[Hashable, ...]: ...

    @property
    def outs(self) -> tuple[Hashable, ...]: ...

    def delay(self, dim: str) -> int: ...


Node = TypeVar("Node", bound=Wired)


@dataclasses.dataclass(frozen=True)
class Component:
    """A strongly connected component: the indices of its nodes, and whether it holds a cycle."""

    places: tuple[int, ...]
    cyclic: bool


def edges(nodes: Sequence[Wired]) -> list[list[int]]:
    """For each node, the nodes that it reads."""
    source = {wire: place for place, node in enumerate(nodes) for wire in node.outs}
    return [
        list(dict.fromkeys(source[wire] for wire in node.ins if wire in source)) for node in nodes
    ]


def components(reads: Sequence[Sequence[int]]) -> list[Component]:
    """The strongly connected components, each after those that it reads.

    Tarjan's algorithm (1972), with an explicit stack in place of recursion.

    **Arguments:** `reads` has for each node the indices of the nodes that it reads.
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[Component] = []
    for root in range(len(reads)):
        if root in index:
            continue
        work = [(root, iter(reads[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            place, remaining = work[-1]
            for other in remaining:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(reads[other])))
                    break
                if other in on_stack:
                    low[place] = min(low[place], index[other])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[place])
                if low[place] == index[place]:
                    members = []
                    while not members or members[-1] != place:
                        members.append(stack.pop())
                        on_stack.remove(members[-1])
                    members.sort()
                    cyclic = len(members) > 1 or place in reads[place]
                    found.append(Component(tuple(members), cyclic))
    return found


def in_order(nodes: Sequence[Node]) -> list[Node]:
    """The nodes of a graph without cycles, each after those that it reads."""
    found = components(edges(nodes))
    assert not any(component.cyclic for component in found), "an algebraic loop was let through"
    return [nodes[component.places[0]] for component in found]


def lags(nodes: Sequence[Wired], reads: Sequence[Sequence[int]], dim: str) -> list[int] | None:
    """How many orders along `dim` each node runs ahead, or None if a cycle loses orders.

    A deregister at order n needs order n + 1 of its input, a register order n - 1. The smallest
    lags that allow this are longest paths (Bellman-Ford, over a queue of the nodes that changed).
    """
    result = [0] * len(nodes)
    limit = sum(max(0, -node.delay(dim)) for node in nodes)
    if limit == 0:
        return result
    changed = collections.deque(range(len(nodes)))
    while changed:
        place = changed.popleft()
        need = result[place] - nodes[place].delay(dim)
        for other in reads[place]:
            if need > result[other]:
                if need > limit:
                    return None
                result[other] = need
                changed.append(other)
    return result


def orders_read(nodes: Sequence[Wired], orders: Mapping[str, int]) -> dict[str, int]:
    """The orders along each dimension that must be known to compute `orders` of all wires.

    A deregister reads one order more than it gives. A loop may lose orders along one dimension and
    gain them along another: the heat equation reads two orders in x for each order in t.

    Raises `LoopError` if a loop loses orders without end.
    """
    reads = edges(nodes)
    result: dict[str, int] = {}
    for dim, order in orders.items():
        lag = lags(nodes, reads, dim)
        if lag is not None:
            ahead = [at - min(0, node.delay(dim)) for at, node in zip(lag, nodes, strict=True)]
            result[dim] = order + max(ahead, default=0)
    while len(result) < len(orders):
        before = len(result)
        for dim in [dim for dim in orders if dim not in result]:
            loss = _loss_within(nodes, reads, dim, result)
            if loss is not None:
                result[dim] = orders[dim] + loss
        if len(result) == before:
            losing = ", ".join(sorted(orders.keys() - result.keys()))
            raise LoopError(f"a loop takes derivatives along {losing} without end")
    return {dim: result[dim] for dim in orders}


def _loss_within(
    nodes: Sequence[Wired], reads: Sequence[Sequence[int]], dim: str, orders: Mapping[str, int]
) -> int | None:
    """The most orders along `dim` that reads within `orders` lose, or None if there is no bound.

    Longest paths as in `lags`, over the nodes at each of their orders along the other dimensions.
    """
    others = [d for d in orders if any(node.delay(d) for node in nodes)]
    top = tuple(orders[d] for d in others)
    delays = [tuple(node.delay(d) for d in others) for node in nodes]
    limit = sum(max(0, -node.delay(dim)) for node in nodes) * math.prod(n + 1 for n in top)
    loss = {(place, top): 0 for place in range(len(nodes))}
    changed = collections.deque(loss)
    most = 0
    while changed:
        place, at = changed.popleft()
        need = loss[place, at] - nodes[place].delay(dim)
        source = tuple(n - delay for n, delay in zip(at, delays[place], strict=True))
        if any(not 0 <= n <= highest for n, highest in zip(source, top, strict=True)):
            continue
        most = max(most, need)
        for other in reads[place]:
            if need > loss.get((other, source), -1):
                if need > limit:
                    return None
                loss[other, source] = need
                changed.append((other, source))
    return most


def guards(
    nodes: Sequence[Wired], reads: Sequence[Sequence[int]], places: Sequence[int], dim: str
) -> bool:
    """Whether `dim` guards a component: no cycle in it loses orders along `dim`, and one gains."""
    if not any(nodes[place].delay(dim) > 0 for place in places):
        return False
    inner, inner_reads = restrict(nodes, reads, places)
    lag = lags(inner, inner_reads, dim)
    return lag is not None and any(
        loose(lag[place], inner[place].delay(dim), lag[other])
        for place in range(len(inner))
        for other in inner_reads[place]
    )


def loose(reader_lag: int, reader_delay: int, source_lag: int) -> bool:
    """Whether a reader takes a value from an earlier step, so that the edge can be cut."""
    return reader_lag - reader_delay < source_lag


def restrict(
    nodes: Sequence[Wired], reads: Sequence[Sequence[int]], places: Sequence[int]
) -> tuple[list[Wired], list[list[int]]]:
    """The nodes with the indices `places`, and which of each other they read."""
    number = {place: count for count, place in enumerate(places)}
    inner = [nodes[place] for place in places]
    return inner, [[number[other] for other in reads[place] if other in number] for place in places]
