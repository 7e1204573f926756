"""The wiring graph of a circuit."""

import jax
import jax.numpy as jnp
import pytest
from helpers import closed
from hypothesis import given, settings
from strategies import circuits

import asgard as ag
from asgard.circuits.graph import canonical, flatten
from asgard.circuits.loops import describe, loops

pytestmark = pytest.mark.usefixtures("unchecked")


class Twice(ag.Block):
    """A circuit after itself."""

    circuit_twice: ag.Circuit

    def circuit(self):
        return self.circuit_twice >> self.circuit_twice


def atoms(circuit):
    return [str(node.atom) for node in flatten(circuit).nodes]


@settings(max_examples=100, deadline=None)
@given(circuits())
def test_a_graph_holds_each_atom_that_computes_once(circuit):
    try:
        graph = flatten(circuit)
    except ag.LoopError:
        return
    wiring = (ag.Id, ag.Split, ag.Discard, ag.Swap, ag.Permute, ag.Var)
    assert [n.atom for n in graph.nodes] == [p for p in circuit.parts if not isinstance(p, wiring)]
    assert (len(graph.inputs), len(graph.outputs)) == (circuit.n_in, circuit.n_out)
    driven = [*graph.inputs, *(wire for node in graph.nodes for wire in node.outs)]
    assert len(set(driven)) == len(driven)
    assert {*graph.outputs, *(w for n in graph.nodes for w in n.ins)} <= set(driven)


def test_blocks_expand_also_in_blocks():
    assert atoms(Twice(Twice(ag.Exp()))) == ["exp"] * 4
    assert canonical(Twice(Twice(ag.Exp()))) == canonical(ag.Composition(*[ag.Exp()] * 4))


def test_blocks_below_a_depth_stay_whole():
    inner = Twice(ag.Exp())
    depths = [
        [type(node.atom) for node in flatten(Twice(inner) >> ag.Sin(), depth=depth).nodes]
        for depth in (0, 1, 2, None)
    ]
    assert depths[:2] == [[Twice, ag.Sin], [Twice, Twice, ag.Sin]]
    assert depths[2] == depths[3] == [ag.Exp] * 4 + [ag.Sin]


def test_variables_name_wires():
    circuit = ag.Var("a") >> ag.Exp() >> ag.Var("b") >> ag.Split() >> ag.Var("c") @ ag.Id()
    graph = flatten(circuit)
    (node,) = graph.nodes
    assert graph.names == {"a": node.ins, "b": node.outs, "c": node.outs}
    twice = flatten(ag.Var("a") @ ag.Var("a"))
    assert twice.names == {"a": twice.inputs}


def test_dimensions_are_those_of_states_coordinates_and_initial_streams():
    circuit = (
        ag.Register("t", ag.Stream([[1.0]], ("x", "y")))
        >> ag.Deregister("s")
        >> ag.Id() @ ag.Coordinate("u")
        >> ag.Id(2) @ ag.Substitution(ag.Const(1.0), ag.Id(), "v")
    )
    assert flatten(circuit).dims == ("t", "x", "y", "s", "u", "v")


def test_a_closed_loop_without_an_atom_is_dropped_or_refused():
    assert canonical(ag.Exp() @ ag.Id(2).trace(2)) == canonical(ag.Exp())
    with pytest.raises(ag.LoopError, match="closed loop with no atom in it is read"):
        flatten(ag.Split().trace())
    with pytest.raises(ag.LoopError, match="closed loop"):
        flatten(ag.Id() @ (ag.Split().trace()) >> ag.Add())


def test_canonical_graphs_tell_numbers_wiring_and_structure_apart():
    base = ag.Scalar(1.0) @ ag.Exp() >> ag.Add()
    same = ag.Swap() >> ag.Exp() @ ag.Scalar(1.0) >> ag.Swap() >> ag.Add()
    assert canonical(base) == canonical(same)
    others = [
        ag.Scalar(2.0) @ ag.Exp() >> ag.Add(),
        ag.Scalar(jnp.float32(1.0)) @ ag.Exp() >> ag.Add(),
        ag.Scalar(jnp.ones(1)) @ ag.Exp() >> ag.Add(),
        ag.Exp() @ ag.Scalar(1.0) >> ag.Add(),
        ag.Scalar(1.0) @ ag.Exp() >> ag.Multiplication(),
        ag.Split() @ ag.Discard() >> base,
    ]
    forms = [canonical(circuit) for circuit in [base, *others]]
    assert len(set(forms)) == len(forms)
    assert canonical(ag.Register("t")) != canonical(ag.Register("x"))


def test_canonical_graphs_leave_out_what_nothing_reads():
    unread = ag.Id() @ (ag.Const(1.0) >> ag.Exp() >> ag.Discard())
    assert canonical(ag.Sin() >> unread) == canonical(ag.Sin())


def test_canonical_graphs_under_a_trace():
    circuit = closed(ag.Scalar(2.0) >> ag.Register("t"))

    @jax.jit
    def run(circuit):
        assert canonical(circuit) == canonical(circuit)
        return circuit.parts[0].factor

    assert run(circuit) == 2.0


def test_nested_traces_have_the_graph_of_a_flat_one():
    nested = ag.Register("t")
    for _ in range(3):
        nested = (ag.Add() >> nested >> ag.Split()).trace()
    sums = ag.Add() @ ag.Id(2) >> ag.Add() @ ag.Id() >> ag.Add()
    assert canonical(nested) == canonical((sums >> ag.Register("t") >> ag.Split(4)).trace(3))


def test_graphs_of_thousands_of_atoms():
    chain = ag.Composition(*[ag.Scalar(1.0)] * 2000)
    assert len(flatten(chain).nodes) == 2000
    nested = ag.Register("t")
    for _ in range(400):
        nested = (ag.Add() >> nested >> ag.Split()).trace()
    (loop,) = loops(flatten(nested), ("t",))
    assert (len(loop.nodes), loop.dim, loop.inner) == (401, "t", ())
    assert len(canonical(nested)[1]) == 401


def test_loops_are_told_with_what_guards_them():
    heat = closed(ag.Deregister("x") >> ag.Deregister("x") >> ag.Register("t"))
    mixed = (ag.Add(3) >> ag.Split(3) >> ag.Id() @ ag.Register("t") @ ag.Register("x")).trace(2)
    (loop,) = loops(flatten(heat), ("x", "t"))
    assert (loop.dim, loop.inner) == ("t", ())
    (loop,) = loops(flatten(mixed), ("t", "x"))
    assert loop.dim == "t"
    assert [(inner.dim, inner.inner) for inner in loop.inner] == [("x", ())]
    (loop,) = loops(flatten(closed(ag.Exp() >> ag.Sin())), ("t",))
    assert loop.dim is None
    assert describe(loop) == "the loop through exp, sin"
    assert loops(flatten(ag.Exp() >> ag.Register("t")), ("t",)) == ()


def test_loops_come_after_what_they_read():
    first, second = (
        (ag.Add() >> atom >> ag.Register("t") >> ag.Split()).trace()
        for atom in (ag.Exp(), ag.Sin())
    )
    names = [describe(loop) for loop in loops(flatten(first >> second), ("t",))]
    assert ["exp" in name for name in names] == [True, False]


class Itself(ag.Block):
    """A block that holds itself."""

    def circuit(self):
        return Itself() >> ag.Id()


def test_a_block_that_holds_itself_is_an_error_of_ours():
    with pytest.raises(ag.CircuitError, match="holds itself"):
        Itself()
