"""Circuits without the nodes that they do not need."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow
from random_circuits import random_circuit

import asgard as ag
from asgard.circuits.graph import canonical, flatten
from asgard.language.rewriting.collocation import outputs
from asgard.language.rewriting.instances import streams

pytestmark = pytest.mark.usefixtures("unchecked")


def count(circuit):
    return len(flatten(circuit).nodes)


TERMS = {
    "composition(id, sin, id)": "sin",
    "composition(swap, swap)": "id(2)",
    "composition(split, monoidal(sin, sin), add)": "composition(sin, split, add)",
    "composition(split, monoidal(sin, composition(cos, discard)))": "sin",
    "composition(add(1), power(1), multiplication(1), exp)": "exp",
    "composition(permute(2, 0, 1), permute(1, 2, 0))": "id(3)",
    "composition(split(3), monoidal(discard, id, discard))": "id",
    "composition(monoidal(sin, id), monoidal(id, cos))": (
        "composition(monoidal(sin, id), monoidal(id, cos))"
    ),
    "trace(composition(add, register(t, 1.0), split))": (
        "trace(composition(add, register(t, 1.0), split))"
    ),
    "trace(composition(add, id, register(t, 1.0), split))": (
        "trace(composition(add, register(t, 1.0), split))"
    ),
    "trace(swap)": "id",
    "composition(const(1.0), discard)": "composition(const(1.0), discard)",
}


@pytest.mark.parametrize("text", TERMS)
def test_terms_become_what_one_wires(text):
    found = ag.simplify(ag.parse(text))
    assert str(found) == TERMS[text]
    assert ag.simplify(found) == found


def test_numbers_of_a_circuit_stay_apart_and_as_they_are():
    circuit = ag.Split() >> ag.Scalar(2.0) @ ag.Scalar(2.0) >> ag.Add() >> ag.Scalar(1.0)
    assert ag.simplify(circuit) is circuit
    two = ag.Scalar(2.0)
    assert ag.simplify(ag.Split() >> two @ two >> ag.Add()) == ag.Split() >> two @ two >> ag.Add()
    positive = ag.Id() >> ag.Scalar(ag.Positive(2.0)) >> ag.Split() >> ag.Id() @ ag.Discard()
    assert ag.simplify(positive) == ag.Scalar(ag.Positive(2.0))


def test_registers_are_joined_where_a_block_says_so():
    class Twice(ag.Block):
        rate: jax.Array
        start: jax.Array

        def circuit(self):
            one = ag.Scalar(self.rate) >> ag.Register("t", self.start)
            return ag.Split() >> one @ one >> ag.Multiplication()

    circuit = Twice(0.5, 2.0)
    found = ag.simplify(circuit)
    assert (count(circuit), count(found)) == (5, 3)
    assert list(ag.parameters(found)) == ["rate", "start"]
    assert str(found) == ("composition(scalar(0.5), register(t, 2.0), split, multiplication)")
    changed = ag.update(found, {"rate": 3.0})
    expected = ag.update(circuit, {"rate": 3.0})
    inputs = streams(random.Random(0), 1)
    assert (outputs(changed, inputs) == outputs(expected, inputs)).all()


def test_what_a_block_computes_or_writes_out_twice_is_one():
    class Both(ag.Block):
        rate: jax.Array
        other: jax.Array

        def circuit(self):
            one = ag.Scalar(2.0) >> ag.Scalar(-self.rate)
            return ag.Split() >> one @ (ag.Scalar(2.0) >> ag.Scalar(-self.other)) >> ag.Add()

    class Same(ag.Block):
        rate: jax.Array

        def circuit(self):
            return ag.Split() >> ag.Scalar(-self.rate) @ ag.Scalar(-self.rate) >> ag.Add()

    assert count(ag.simplify(Both(0.5, 0.5))) == 4
    assert count(ag.simplify(Same(0.5))) == 2


def test_a_traced_circuit_is_simplified_alike():
    @jax.jit
    def run(circuit):
        found = ag.simplify(circuit)
        assert count(found) == 3
        return ag.series(found, order=3).coefficients

    sine = ag.Split() >> (ag.Sin() >> ag.Add(1)) @ ag.Sin() >> ag.Add()
    circuit = (sine >> ag.Register("t", 1.0) >> ag.Split()).trace()
    np.testing.assert_allclose(run(circuit), ag.series(circuit, order=3).coefficients, rtol=1e-14)


def test_derivatives_are_those_by_each_number():
    class Half(ag.Block):
        rate: jax.Array
        unused: jax.Array

        def circuit(self):
            kept = ag.Scalar(self.rate) >> ag.Sin()
            return ag.Split(3) >> kept @ kept @ (ag.Scalar(self.unused) >> ag.Discard()) >> ag.Add()

    circuit = (Half(0.7, 2.0) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    found = ag.simplify(circuit)
    assert (count(circuit), count(found)) == (7, 4)
    assert list(ag.parameters(found)) == list(ag.parameters(circuit))

    def end(circuit):
        return ag.series(circuit, order=4).coefficients.sum()

    (value, slope), (expected, exact) = jax.jit(
        lambda *pair: tuple(jax.value_and_grad(end)(one) for one in pair)
    )(found, circuit)
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    slopes, known = ag.parameters(slope), ag.parameters(exact)
    assert slopes["half.unused"] == known["half.unused"] == 0.0
    for name in known:
        np.testing.assert_allclose(slopes[name], known[name], rtol=1e-13, err_msg=name)


def test_named_wires_and_noises_stay():
    named = ag.Split() >> (ag.Sin() >> ag.Var("angle") >> ag.Discard()) @ (ag.Cos() >> ag.Id())
    assert flatten(ag.simplify(named)).names.keys() == {"angle"}
    twice = ag.Split() >> ag.Var("a") @ (ag.Add(1) >> ag.Var("b")) >> ag.Add()
    found = ag.simplify(twice)
    assert (str(found), flatten(found).names.keys()) == (
        "composition(var(a), var(b), split, add)",
        {"a", "b"},
    )
    alike, apart = (
        ag.Split() >> ag.StochasticRegister("t", "W") @ ag.StochasticRegister("t", noise)
        for noise in ("W", "V")
    )
    assert (count(ag.simplify(alike)), count(ag.simplify(apart))) == (2, 2)
    jumps = ag.JumpRegister("t", 1.0, 1.0, "N")
    assert count(ag.simplify(ag.Split() >> jumps @ jumps)) == 2


def test_one_name_on_two_wires_stays_on_both():
    circuit = ag.Sin() >> ag.Id() >> ag.Var("x") >> ag.Cos() >> ag.Var("x") >> ag.Exp()
    graph = flatten(ag.simplify(circuit))
    assert [len(wires) for wires in graph.names.values()] == [2]


def test_functions_stay_whole_and_work_on_arrays():
    @ag.circuit
    def turned(x=jnp.zeros(2), *, angle=0.3):  # noqa: B008 - says what the wire carries
        return jnp.array([[0.0, -1.0], [1.0, 0.0]]) @ x * angle

    both = ag.Split() >> (turned() >> ag.Discard()) @ (ag.Id() >> turned(angle=0.5))
    found = ag.simplify(both)
    assert list(ag.parameters(found)) == list(ag.parameters(both))
    assert len(flatten(found, whole=True).nodes) == 1
    one = ag.Stream(jnp.array([[1.0, 0.0], [2.0, 1.0]]), "t")
    left, right = (ag.series(circuit, one, order=1).coefficients for circuit in (found, both))
    assert (left == right).all()


def test_wide_graphs_are_one_loop_around_all_nodes():
    wide = ag.Split(20) >> ag.Monoidal(*(ag.Scalar(float(n)) for n in range(20))) >> ag.Add(20)
    circuit = ag.Id() >> wide >> ag.Add(1)
    found = ag.simplify(circuit)
    assert canonical(found) == canonical(wide)
    assert list(ag.parameters(found)) == list(ag.parameters(wide))


def test_deep_terms_are_taken():
    circuit = ag.Sin()
    for _ in range(500):
        circuit = (circuit >> ag.Add(1)) @ ag.Id() >> ag.Id() @ ag.Cos() >> ag.Id() @ ag.Discard()
        circuit = ag.Split() >> circuit
    assert str(ag.simplify(circuit)) == "sin"


def test_what_is_no_circuit_and_closed_loops_are_refused():
    with pytest.raises(ag.CircuitError, match="simplify takes a circuit, not str"):
        ag.simplify("sin")
    with pytest.raises(ag.LoopError, match="closed loop"):
        ag.simplify(ag.Split().trace())
    # A loop of atoms that only pass is a loop to be solved, and stays one.
    passing = (ag.Add(1) >> ag.Split()).trace()
    assert ag.simplify(passing) is passing


@pytest.mark.parametrize("circuits", [100, slow(1000)])
def test_random_circuits_keep_their_values_and_gain_no_node(circuits):
    draw = random.Random(circuits)
    fewer = 0
    for _ in range(circuits):
        circuit = random_circuit(draw, draw.randint(0, 2), draw.randint(1, 2), depth=4)
        found = ag.simplify(circuit)
        assert (found.n_in, found.n_out) == (circuit.n_in, circuit.n_out)
        assert count(found) <= count(circuit)
        fewer += count(found) < count(circuit)
        assert ag.parse(str(found)) == found
        assert ag.simplify(found) == found
        inputs = streams(draw, circuit.n_in)
        np.testing.assert_allclose(outputs(found, inputs), outputs(circuit, inputs), rtol=1e-12)
    assert fewer > circuits / 3


@pytest.mark.parametrize("circuits", [10, slow(100)])
def test_series_of_random_circuits_stay_as_they_are(circuits):
    draw = random.Random(7)
    many = [random_circuit(draw, 0, 1) for _ in range(circuits)]
    left, right = (
        np.stack([one.coefficients for one in ag.series(ag.Monoidal(*batch), order=5)])
        for batch in (many, [ag.simplify(circuit) for circuit in many])
    )
    np.testing.assert_allclose(left, right, rtol=1e-13, atol=1e-15)
