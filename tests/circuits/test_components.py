"""Strongly connected components and retimings against brute force on small graphs."""

import dataclasses
import itertools

import pytest
from helpers import closed
from hypothesis import given, settings
from hypothesis import strategies as st

import asgard as ag
from asgard.circuits.components import components, edges, guards, lags, loose, orders_read
from asgard.circuits.graph import flatten


@dataclasses.dataclass(frozen=True)
class Box:
    """A node that drives one wire, its own number, and reads others."""

    ins: tuple[int, ...]
    outs: tuple[int, ...]
    delays: tuple[int, int]

    def delay(self, dim):
        return self.delays["tx".index(dim)]


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 6))
    index = st.integers(0, size - 1)
    delays = st.tuples(*[st.sampled_from([-1, 0, 0, 1])] * 2)
    return [
        Box(tuple(draw(st.lists(index, max_size=2, unique=True))), (number,), draw(delays))
        for number in range(size)
    ]


def reach(reads):
    """Which node reaches which, by Floyd and Warshall."""
    size = range(len(reads))
    found = [[other in reads[index] for other in size] for index in size]
    for middle, start, end in itertools.product(size, repeat=3):
        found[start][end] |= found[start][middle] and found[middle][end]
    return found


def negative_cycle(nodes, reads, dim):
    size = range(len(nodes))
    infinite = 10**6
    total = [
        [nodes[index].delay(dim) if other in reads[index] else infinite for other in size]
        for index in size
    ]
    for middle, start, end in itertools.product(size, repeat=3):
        total[start][end] = min(total[start][end], total[start][middle] + total[middle][end])
    return any(total[index][index] < 0 for index in size)


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_components_are_what_reach_each_other_and_come_after_what_they_read(nodes):
    reads = edges(nodes)
    found = components(reads)
    reached = reach(reads)
    for component in found:
        for a, b in itertools.product(component.indices, range(len(nodes))):
            together = a == b or (reached[a][b] and reached[b][a])
            assert together == (b in component.indices)
        assert component.cyclic == reached[component.indices[0]][component.indices[0]]
    order = {index: count for count, c in enumerate(found) for index in c.indices}
    assert sorted(order) == list(range(len(nodes)))
    assert all(order[o] <= order[p] for p in range(len(nodes)) for o in reads[p])


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_lags_exist_exactly_where_no_cycle_loses_orders(nodes):
    reads = edges(nodes)
    lag = lags(nodes, reads, "t")
    assert (lag is None) == negative_cycle(nodes, reads, "t")
    if lag is not None:
        assert min(lag) == 0
        for index, node in enumerate(nodes):
            assert all(lag[other] >= lag[index] - node.delay("t") for other in reads[index])


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_a_guard_leaves_only_cycles_without_delay(nodes):
    reads = edges(nodes)
    for component in components(reads):
        if not component.cyclic or not guards(nodes, reads, component.indices, "t"):
            continue
        indices = component.indices
        inner = [nodes[index] for index in indices]
        number = {index: count for count, index in enumerate(indices)}
        inner_reads = [[number[o] for o in reads[p] if o in number] for p in indices]
        lag = lags(inner, inner_reads, "t")
        left = [
            [o for o in inner_reads[p] if not loose(lag[p], inner[p].delay("t"), lag[o])]
            for p in range(len(inner))
        ]
        for rest in components(left):
            # What is still a cycle has a delay of zero: neither it nor its reverse loses orders.
            if rest.cyclic:
                around = [dataclasses.replace(n, delays=(-n.delay("t"), 0)) for n in inner]
                assert not negative_cycle(inner, left, "t")
                assert not negative_cycle(around, left, "t")


def read(circuit, **orders):
    return orders_read(flatten(circuit).nodes, orders)


HEAT = closed(ag.Deregister("x") >> ag.Deregister("x") >> ag.Register("t"))
WAVE = closed(ag.Deregister("x") >> ag.Deregister("x") >> ag.Register("t") >> ag.Register("t"))
BACK = closed(ag.Deregister("t") >> ag.Register("t") >> ag.Register("t"))


@pytest.mark.parametrize(
    ("circuit", "asked", "expected"),
    [
        (ag.Exp(), {"t": 3}, {"t": 3}),
        (ag.Deregister("t"), {"t": 3}, {"t": 4}),
        (ag.Deregister("t") >> ag.Exp() >> ag.Deregister("t"), {"t": 3}, {"t": 5}),
        (ag.Deregister("t") >> ag.Register("t"), {"t": 3}, {"t": 4}),
        (HEAT, {"t": 5, "x": 3}, {"t": 5, "x": 15}),
        (WAVE, {"x": 3, "t": 5}, {"x": 9, "t": 5}),
        (HEAT >> ag.Deregister("t"), {"t": 5, "x": 3}, {"t": 6, "x": 17}),
        (BACK, {"t": 4}, {"t": 5}),
        (HEAT, {"t": 0, "x": 3}, {"t": 0, "x": 5}),
    ],
    ids=str,
)
def test_orders_read(circuit, asked, expected):
    assert read(circuit, **asked) == expected
