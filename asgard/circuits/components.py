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
class HasWires(Protocol):
    """What the analysis needs of a node."""

    @property
    def ins(self) -> tuple[Hashable, ...]: ...

    @property
    def outs(self) -> tuple[Hashable, ...]: ...

    def delay(self, dim: str) -> int: ...


Node = TypeVar("Node", bound=HasWires)


@dataclasses.dataclass(frozen=True)
class Component:
    """A strongly connected component: the indices of its nodes, and whether it holds a cycle."""

    indices: tuple[int, ...]
    cyclic: bool


def edges(nodes: Sequence[HasWires]) -> list[list[int]]:
    """For each node, the nodes that it reads."""
    source = {wire: index for index, node in enumerate(nodes) for wire in node.outs}
    return [
        list(dict.fromkeys(source[wire] for wire in node.ins if wire in source)) for node in nodes
    ]


def components(reads: Sequence[Sequence[int]]) -> list[Component]:
    """The strongly connected components, each after those that it reads.

    Tarjan's algorithm (1972), with an explicit stack in place of recursion.

    **Arguments:** `reads` has for each node the indices of the nodes that it reads.
    """
    discovered: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[Component] = []
    for root in range(len(reads)):
        if root in discovered:
            continue
        work = [(root, iter(reads[root]))]
        discovered[root] = low[root] = len(discovered)
        stack.append(root)
        on_stack.add(root)
        while work:
            index, remaining = work[-1]
            for other in remaining:
                if other not in discovered:
                    discovered[other] = low[other] = len(discovered)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(reads[other])))
                    break
                if other in on_stack:
                    low[index] = min(low[index], discovered[other])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[index])
                if low[index] == discovered[index]:
                    members = []
                    while not members or members[-1] != index:
                        members.append(stack.pop())
                        on_stack.remove(members[-1])
                    members.sort()
                    cyclic = len(members) > 1 or index in reads[index]
                    found.append(Component(tuple(members), cyclic))
    return found


def in_order(nodes: Sequence[Node]) -> list[Node]:
    """The nodes of a graph without cycles, each after those that it reads."""
    found = components(edges(nodes))
    assert not any(component.cyclic for component in found), "an algebraic loop was let through"
    return [nodes[component.indices[0]] for component in found]


def lags(nodes: Sequence[HasWires], reads: Sequence[Sequence[int]], dim: str) -> list[int] | None:
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
        index = changed.popleft()
        need = result[index] - nodes[index].delay(dim)
        for other in reads[index]:
            if need > result[other]:
                if need > limit:
                    return None
                result[other] = need
                changed.append(other)
    return result


def orders_read(nodes: Sequence[HasWires], orders: Mapping[str, int]) -> dict[str, int]:
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
    nodes: Sequence[HasWires], reads: Sequence[Sequence[int]], dim: str, orders: Mapping[str, int]
) -> int | None:
    """The most orders along `dim` that reads within `orders` lose, or None if there is no bound.

    Longest paths as in `lags`, over the nodes at each of their orders along the other dimensions.
    """
    others = [d for d in orders if any(node.delay(d) for node in nodes)]
    top = tuple(orders[d] for d in others)
    delays = [tuple(node.delay(d) for d in others) for node in nodes]
    limit = sum(max(0, -node.delay(dim)) for node in nodes) * math.prod(n + 1 for n in top)
    loss = {(index, top): 0 for index in range(len(nodes))}
    changed = collections.deque(loss)
    most = 0
    while changed:
        index, at = changed.popleft()
        need = loss[index, at] - nodes[index].delay(dim)
        source = tuple(n - delay for n, delay in zip(at, delays[index], strict=True))
        if any(not 0 <= n <= highest for n, highest in zip(source, top, strict=True)):
            continue
        most = max(most, need)
        for other in reads[index]:
            if need > loss.get((other, source), -1):
                if need > limit:
                    return None
                loss[other, source] = need
                changed.append((other, source))
    return most


def guards(
    nodes: Sequence[HasWires], reads: Sequence[Sequence[int]], indices: Sequence[int], dim: str
) -> bool:
    """Whether `dim` guards a component: no cycle in it loses orders along `dim`, and one gains."""
    if not any(nodes[index].delay(dim) > 0 for index in indices):
        return False
    inner, inner_reads = restrict(nodes, reads, indices)
    lag = lags(inner, inner_reads, dim)
    return lag is not None and any(
        loose(lag[index], inner[index].delay(dim), lag[other])
        for index in range(len(inner))
        for other in inner_reads[index]
    )


def loose(reader_lag: int, reader_delay: int, source_lag: int) -> bool:
    """Whether a reader takes a value from an earlier step, so that the edge can be cut."""
    return reader_lag - reader_delay < source_lag


def restrict(
    nodes: Sequence[HasWires], reads: Sequence[Sequence[int]], indices: Sequence[int]
) -> tuple[list[HasWires], list[list[int]]]:
    """The nodes with the given `indices`, and which of each other they read."""
    number = {index: count for count, index in enumerate(indices)}
    inner = [nodes[index] for index in indices]
    return inner, [
        [number[other] for other in reads[index] if other in number] for index in indices
    ]
