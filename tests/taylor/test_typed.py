"""What wires carry, and blocks whose wiring depends on it."""

import jax
import jax.numpy as jnp
import pytest
from systems import lotka_volterra

import asgard as ag
from asgard.circuits.circuit import TypedBlock
from asgard.circuits.graph import canonical, flatten
from asgard.taylor.typed import join, output_types, settled, type_of

NUMBER, VECTOR = (jax.ShapeDtypeStruct(shape, jnp.float64) for shape in ((), (3,)))


class Ravel(TypedBlock):
    """The entries of a vector, added up one by one: a block that reads its input's shape."""

    n_in = n_out = 1

    def wiring(self, types):
        (given,) = types
        count = 1 if given is None or not given.shape else given.shape[0]
        return ag.Function(_ENTRIES[count], 1, count) >> ag.Add(count)

    def output_types(self, types):
        return [NUMBER]


_ENTRIES = {
    1: lambda x: x,
    3: lambda x: tuple(x),
}


def test_the_types_of_outputs_follow_from_those_of_inputs():
    stack = ag.Function(lambda x: jnp.stack([x, x, x]), 1)
    assert output_types(stack, [NUMBER]) == [VECTOR]
    assert output_types(lotka_volterra(), []) == [NUMBER, NUMBER]
    held = ag.Register("t", jnp.zeros(3)) @ ag.Coordinate("t") @ ag.StochasticRegister("t", "W")
    assert output_types(held, [NUMBER, VECTOR]) == [VECTOR, NUMBER, VECTOR]
    loop = (ag.Add() >> ag.Cos() >> ag.Unknown() >> ag.Split()).trace()
    assert output_types(loop, [VECTOR]) == [VECTOR]
    algebraic = (ag.Cos() >> ag.Split()).trace()
    assert output_types(algebraic, []) == [NUMBER]
    assert output_types(ag.Deregister("t"), [None]) == [None]


def test_a_typed_block_gets_the_types_of_its_inputs():
    def wired(circuit, *types):
        return [str(node.atom) for node in flatten(settled(circuit, types)).nodes]

    stack = ag.Function(lambda x: jnp.stack([x, x, x]), 1)
    assert wired(Ravel(), VECTOR)[-1] == "add(3)"
    assert wired(Ravel(), NUMBER)[-1] == "add(1)"
    assert wired(stack >> ag.Register("t") >> Ravel(), NUMBER)[-1] == "add(3)"
    # On a loop that the block itself closes it is taken for what it says.
    assert wired((ag.Add() >> Ravel() >> ag.Split()).trace(), None)[-1] == "add(1)"
    assert str(flatten(Ravel()).nodes[-1].atom) == "add(1)"
    found = ag.simulate(stack >> Ravel(), [0.0], inputs=(2.0,), calculus=ag.Discrete())
    assert found.output[0] == 6.0


def test_settling_keeps_the_rest_of_a_circuit():
    plain = ag.Var("x") >> ag.Sin()
    assert settled(plain, [NUMBER]) is plain
    circuit = ag.Var("x") @ ag.Var("x") >> ag.Sin() @ Ravel() >> ag.Var("sum") @ ag.Id()
    graph = flatten(settled(circuit, [NUMBER, NUMBER]))
    assert {name: len(wires) for name, wires in graph.names.items()} == {"x": 2, "sum": 1}
    assert canonical(graph) == canonical(circuit)


def test_types_join_as_registers_do():
    single = jax.ShapeDtypeStruct((1, 3), jnp.complex64)
    assert join(VECTOR, single) == jax.ShapeDtypeStruct((1, 3), jnp.complex128)
    assert type_of(ag.Stream(jnp.ones((3, 2)), "x")) == VECTOR
    with pytest.raises(ValueError, match="Incompatible shapes"):
        join(VECTOR, jax.ShapeDtypeStruct((2,), jnp.float64))
