"""States that are opened before they are fed."""

import inspect

import jax.numpy as jnp
import pytest

import asgard as ag
from asgard.circuits.graph import flatten

# Each open form, the atom that it opens, and what it is given.
FORMS = {
    ag.register: (ag.Register, ("t", 2.0)),
    ag.stochastic_register: (ag.StochasticRegister, ("t", "W", 2.0)),
    ag.jump_register: (ag.JumpRegister, ("t", 1.0, 0.5, "N")),
    ag.delay: (ag.Delay, ("n", 2.0)),
    ag.unknown: (ag.Unknown, (2.0,)),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_an_open_form_is_the_atom_that_reads_what_it_is_fed(form):
    kind, arguments = FORMS[form]

    @ag.circuit
    def system(u):
        x = form(*arguments)
        y = jnp.sin(x)
        x.input = u * y
        assert x.input is not y
        return y

    graph = flatten(system())
    (node,) = (node for node in graph.nodes if isinstance(node.atom, kind))
    assert str(node.atom) == str(kind(*arguments))
    sine, product = (
        next(n for n in graph.nodes if n.outs == wires) for wires in (graph.outputs, node.ins)
    )
    assert sine.ins == node.outs
    assert set(product.ins) == {*graph.inputs, *graph.outputs}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_an_open_form_is_documented_and_takes_what_its_atom_takes(form):
    kind, _ = FORMS[form]
    assert f"ag.{kind.__name__}" in form.__doc__
    assert list(inspect.signature(form).parameters) == list(inspect.signature(kind).parameters)


def test_a_state_of_two_wires_is_fed_both():
    @ag.circuit
    def jumps(size, rate):
        n = ag.jump_register("t", None, 1.0, "N")
        n.input = (size, rate)
        assert len(n.input) == 2
        return n

    graph = flatten(jumps())
    (node,) = graph.nodes
    assert (node.ins, node.outs) == (graph.inputs, graph.outputs)


def test_states_keep_their_order_and_may_be_fed_in_any():
    @ag.circuit
    def chain(*, count=4.0):
        states = [ag.register("t", float(i)) for i in range(4)]
        for i in (2, 0, 3, 1):
            states[i].input = states[i - 1]
        return tuple(states)

    atoms = [str(node.atom) for node in flatten(chain()).nodes]
    assert atoms == ["register(t)", "register(t, 1.0)", "register(t, 2.0)", "register(t, 3.0)"]
