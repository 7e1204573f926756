"""A traced function, cut so that nothing depends on what it does not need."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asgard as ag
from asgard.circuits.components import components, edges
from asgard.circuits.graph import flatten
from asgard.language.functions.excerpt import Excerpt

pytestmark = pytest.mark.usefixtures("unchecked")


def excerpts(circuit):
    return [node for node in flatten(circuit).nodes if isinstance(node.atom, Excerpt)]


def paths(circuit):
    """Which inputs each output reads, through nodes of any kind."""
    graph = flatten(circuit)
    driver = {wire: node for node in graph.nodes for wire in node.outs}

    def read(wire):
        met, pending = set(), [wire]
        while pending:
            wire = pending.pop()
            if wire not in met:
                met.add(wire)
                pending += driver[wire].ins if wire in driver else ()
        return {graph.inputs.index(wire) for wire in met.intersection(graph.inputs)}

    return [read(wire) for wire in graph.outputs]


def test_outputs_depend_on_what_they_need():
    @ag.circuit
    def independent(u, v, w):
        s = jnp.sin(u) * v
        return s, jnp.cos(v), s + w, 1.0

    assert paths(independent()) == [{0, 1}, {1}, {0, 1, 2}, set()]
    # What two outputs share is computed once.
    program = [str(e.primitive) for n in excerpts(independent()) for e in n.atom.code.equations]
    assert sorted(program) == ["add", "cos", "mul", "sin"]


def test_a_loop_around_a_part_of_a_function_is_none_if_that_part_is_none():
    @ag.circuit
    def pair(u, v):
        return jnp.sin(v), jnp.cos(u)

    # The second output feeds the second input: sin(cos(u)).
    graph = flatten(pair().trace())
    assert not any(component.cyclic for component in components(edges(graph.nodes)))
    found = ag.simulate(pair().trace(), [0.0], inputs=(0.3,)).output
    np.testing.assert_allclose(found, np.sin(np.cos(0.3)))


def test_numbers_are_computed_outside_of_excerpts():
    @ag.circuit
    def system(u, *, mass=2.0, stiffness=8.0):
        frequency = jnp.sqrt(stiffness / mass)
        x = ag.register("t", 2 * mass)
        x.input = frequency * u
        return x, frequency

    (one,) = excerpts(system())
    assert [str(equation.primitive) for equation in one.atom.code.equations] == ["mul"]
    np.testing.assert_allclose(one.atom.numbers, [2.0])
    graph = flatten(system())
    assert {str(node.atom) for node in graph.nodes} == {"register(t, 4.0)", "system", "const(2.0)"}


def test_comparisons_are_computed_again_where_they_are_read():
    @ag.circuit
    def switched(u, v, w):
        on = u > 0.5
        return jnp.where(on, v, -v), jnp.where(on, w, 2 * w)

    assert paths(switched()) == [{0, 1}, {0, 2}]
    codes = [node.atom.code for node in excerpts(switched())]
    assert {code.types[value].dtype for code in codes for value in code.drives} == {np.dtype(float)}
    compared = [str(e.primitive) for code in codes for e in code.equations]
    assert compared.count("gt") == 2
    found = ag.simulate(switched(), [0.0], inputs=(1.0, 2.0, 3.0)).outputs
    np.testing.assert_allclose(found, [[2.0], [3.0]])


def test_custom_derivatives_are_kept():
    @jax.custom_jvp
    def odd(x):
        return jnp.sin(x)

    odd.defjvp(lambda primals, tangents: (odd(*primals), 7.0 * tangents[0]))

    @ag.circuit
    def system(u, *, k=1.0):
        return odd(k * u)

    def value(circuit):
        return ag.simulate(circuit, [0.0], inputs=(1.0,), calculus=ag.Discrete()).output[0]

    assert value(system()) == pytest.approx(np.sin(1.0))
    assert ag.parameters(jax.grad(value)(system())) == {"k": 7.0}


OPERATIONS = (
    lambda x, y: x + y,
    lambda x, y: x * jnp.sin(y),
    lambda x, y: jnp.where(x > y, x, 2.0 * y),
    lambda x, y: jnp.maximum(x, 0.5),
    lambda x, y: jnp.where(x > 0.3, 1.0, 0.0) + y,
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_excerpts_together_are_the_function(data):
    steps = data.draw(
        st.lists(
            st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 99), st.integers(0, 99)),
            min_size=1,
            max_size=12,
        )
    )
    shown = data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=4))

    def values(*inputs):
        found = list(inputs)
        for operation, one, other in steps:
            found.append(operation(found[one % len(found)], found[other % len(found)]))
        return tuple(found[index % len(found)] for index in shown)

    def function(u, v, w):
        return values(u, v, w)

    inputs = (0.1, 0.4, 0.9)
    graph = flatten(ag.circuit(function)())
    known = dict(zip(graph.inputs, inputs, strict=True))
    pending = list(graph.nodes)
    while pending:
        ready = [node for node in pending if all(wire in known for wire in node.ins)]
        assert ready, "a loop"
        for node in ready:
            results = node.atom(*(known[wire] for wire in node.ins))
            results = results if isinstance(results, tuple) else (results,)
            known.update(zip(node.outs, results, strict=True))
        pending = [node for node in pending if node not in ready]
    found = [known[wire] for wire in graph.outputs]
    np.testing.assert_allclose(found, values(*map(jnp.asarray, inputs)), rtol=1e-12)
    needed = np.stack(jax.jacfwd(lambda x: jnp.stack(values(*x)))(jnp.array(inputs))) != 0
    for row, read in zip(needed, paths(ag.circuit(function)()), strict=True):
        assert set(np.flatnonzero(row)) <= read
