"""Circuits from nodes that are joined by numbered wires."""

import time

import pytest
from hypothesis import given, settings
from strategies import circuits
from systems import lotka_volterra

import asgard as ag
from asgard.circuits.assembly import Wired, assemble
from asgard.circuits.graph import canonical, flatten

pytestmark = pytest.mark.usefixtures("unchecked")


def reassembled(circuit):
    """The circuit of the nodes and wires of a circuit's graph."""
    graph = flatten(circuit)
    nodes = [Wired(node.atom, node.ins, node.outs) for node in graph.nodes]
    names = {name: wires[0] for name, wires in graph.names.items()}
    return assemble(nodes, graph.inputs, graph.outputs, names)


@settings(max_examples=200, deadline=None)
@given(circuits())
def test_the_nodes_and_wires_of_a_graph_give_that_graph(circuit):
    try:
        graph = flatten(circuit)
    except ag.LoopError:
        return
    if not (graph.nodes or graph.inputs):
        return
    again = reassembled(circuit)
    assert (again.n_in, again.n_out) == (circuit.n_in, circuit.n_out)
    assert canonical(again) == canonical(circuit)
    assert [node.atom for node in flatten(again).nodes] == [node.atom for node in graph.nodes]


def test_it_prints_as_a_circuit_by_hand_does():
    decay = assemble(
        [Wired(ag.Scalar(-1.0), (0,), (1,)), Wired(ag.Register("t"), (1,), (0,))], [], [0]
    )
    layers = "monoidal(scalar(-1.0), register(t)), monoidal(id, split), permute(1, 2, 0)"
    text = f"trace(composition({layers}), 2)"
    assert str(decay) == text
    assert ag.parse(text) == decay


def test_names_are_those_of_wires():
    names = {
        name: len(wires) for name, wires in flatten(reassembled(lotka_volterra())).names.items()
    }
    assert names == {"prey": 1, "predator": 1}
    twice = assemble([Wired(ag.Exp(), (5,), (7,))], [5], [7, 7], {"x": 5, "y": 7, "z": 7})
    graph = flatten(twice)
    assert graph.names == {"x": graph.inputs, "y": graph.nodes[0].outs, "z": graph.nodes[0].outs}
    assert graph.outputs == graph.nodes[0].outs * 2
    unread = flatten(assemble([Wired(ag.Exp(), (0,), (1,))], [0], [], {"y": 1}))
    assert unread.names == {"y": unread.nodes[0].outs}


def test_nodes_may_be_circuits_of_any_number_of_wires():
    swing = ag.Swap() >> ag.Sin() @ ag.Discard()
    got = assemble([Wired(swing, (0, 1), (2,)), Wired(ag.Discard(), (2,), ())], [0, 1], [2])
    assert canonical(got) == canonical(swing)
    assert assemble([], [3], [3]) == ag.Id()
    assert canonical(assemble([], [0, 1], [1, 0, 1])) == canonical(
        ag.Id() @ ag.Split() >> ag.Permute((1, 0, 2))
    )
    assert assemble([Wired(ag.Const(1.0), (), (0,))], [], [0]) == ag.Const(1.0)


def test_wires_that_do_not_fit_are_refused():
    exp = ag.Exp()
    with pytest.raises(ag.DegreeError, match="exp is 1 -> 1, but is given 2 wires to read and 1"):
        assemble([Wired(exp, (0, 1), (2,))], [0, 1], [2])
    with pytest.raises(ag.CircuitError, match="wire 0 has more than one source"):
        assemble([Wired(exp, (0,), (0,))], [0], [0])
    with pytest.raises(ag.CircuitError, match="wire 1 is read, but nothing drives it"):
        assemble([Wired(exp, (1,), (2,))], [0], [2])
    with pytest.raises(ag.CircuitError, match="wire 4 is read"):
        assemble([], [0], [4])
    with pytest.raises(ag.CircuitError, match="wire 4 is read"):
        assemble([], [0], [0], {"x": 4})
    with pytest.raises(ag.CircuitError, match="a node or a wire"):
        assemble([], [], [])


def test_eight_times_the_nodes_take_about_eight_times_as_long():
    def seconds(count):
        chain = [Wired(ag.Sin(), (i,), ((i + 1) % count,)) for i in range(count)]
        start = time.process_time()
        circuit = assemble(chain, [], range(count))
        taken = time.process_time() - start
        assert len(flatten(circuit).nodes) == count
        return taken

    seconds(10)
    assert seconds(16_000) < 24 * min(seconds(2_000), seconds(2_000))
