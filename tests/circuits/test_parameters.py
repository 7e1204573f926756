"""A circuit's numbers by name."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawn
from hypothesis import given, settings
from strategies import circuits
from systems import Decay

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")


class Sat(ag.Atom):
    limit: jax.Array
    n_in = n_out = 1

    def __call__(self, x):
        return self.limit * jnp.tanh(x / self.limit)


class PredatorPrey(ag.Block):
    a: jax.Array
    prey: ag.Circuit
    others: tuple
    table: dict

    def circuit(self):
        return self.prey >> ag.Scalar(self.a)


def names(circuit):
    return list(ag.parameters(circuit))


NAMED = [
    (ag.Scalar(2.0), ["scalar.factor"]),
    (ag.Scalar(2.0) >> ag.Register("t"), ["scalar.factor", "register.initial"]),
    (
        (ag.Scalar(2.0) @ Sat(1.0)) >> ag.Add() >> ag.Scalar(3.0),
        ["scalar[0].factor", "sat.limit", "scalar[1].factor"],
    ),
    (ag.Power(3) >> ag.Power(2.0), ["power[1].exponent"]),
    (ag.StochasticRegister("t", "W", 1.0), ["stochastic_register.initial"]),
    (
        ag.Register("t", ag.Stream([1.0, 2.0], "x")),
        ["register.initial.coefficients", "register.initial.center"],
    ),
    (
        ag.Function(drawn(eqx.nn.Linear, 1, 1), 1) >> ag.Exp(),
        ["function.weight", "function.bias"],
    ),
    (
        ag.Function(drawn(eqx.nn.MLP, 1, 1, 4, 1), 1),
        [f"function.layers[{i}].{name}" for i in (0, 1) for name in ("weight", "bias")],
    ),
    (ag.Function(jnp.tanh, 1), []),
    (Decay(0.5), ["rate"]),
    (Decay(0.5) >> Decay(0.6) >> Sat(1.0), ["decay[0].rate", "decay[1].rate", "sat.limit"]),
    (
        PredatorPrey(1.0, Decay(0.5), (ag.Scalar(2.0), 3.0), {"k": 1.0}),
        ["a", "prey.rate", "others[0].scalar.factor", "others[1]", "table.k"],
    ),
    (
        PredatorPrey(1.0, ag.Scalar(2.0) >> ag.Scalar(3.0), (), {}) >> ag.Exp(),
        [f"predator_prey.{n}" for n in ("a", "prey.scalar[0].factor", "prey.scalar[1].factor")],
    ),
    (
        ag.Substitution(ag.Const(1.0), ag.Scalar(2.0), "t"),
        ["substitution.outer.const.value", "substitution.inner.scalar.factor"],
    ),
]


@pytest.mark.parametrize(("circuit", "expected"), NAMED, ids=[str(case[0]) for case in NAMED])
def test_parameters_are_named_by_atoms_blocks_and_fields(circuit, expected):
    assert names(circuit) == expected


@settings(deadline=None)
@given(circuits())
def test_parameters_are_the_leaves_and_update_puts_them_back(circuit):
    values = ag.parameters(circuit)
    leaves = jax.tree.leaves(circuit)
    assert len(values) == len(leaves)
    assert all(value is leaf for value, leaf in zip(values.values(), leaves, strict=True))
    assert ag.update(circuit, values) == circuit
    doubled = ag.update(circuit, {name: value + 1 for name, value in values.items()})
    assert jax.tree.structure(doubled) == jax.tree.structure(circuit)
    assert list(ag.parameters(doubled).values()) == [leaf + 1 for leaf in leaves]


def test_update_changes_what_it_names_and_nothing_else():
    circuit = ag.Scalar(2.0) >> ag.Scalar(3.0) >> ag.Register("t", 1.0)
    assert ag.update(circuit, {"scalar[1].factor": 5, "register.initial": np.float32(0.5)}) == (
        ag.Scalar(2.0) >> ag.Scalar(5.0) >> ag.Register("t", 0.5)
    )
    assert ag.update(circuit, {}) == circuit


def test_update_reaches_into_modules_and_streams():
    mlp = drawn(eqx.nn.MLP, 1, 1, 4, 1)
    circuit = ag.Function(mlp, 1) >> ag.Register("t", ag.Stream([1.0, 2.0], "x"))
    changed = ag.update(
        circuit,
        {"function.layers[0].bias": np.arange(4.0), "register.initial.coefficients": [3, 4]},
    )
    function, register = changed.parts
    assert function.fn.layers[0].bias.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert (function.fn.layers[1].bias == mlp.layers[1].bias).all()
    assert register.initial.coefficients.tolist() == [3.0, 4.0]


def test_values_take_the_dtype_held_so_that_nothing_compiles_again():
    circuit = ag.Const(jnp.float32(2.0))
    compilations = 0

    @jax.jit
    def run(circuit):
        nonlocal compilations
        compilations += 1
        return circuit()

    for value in (3, 3.0, np.float64(3.0), jnp.float32(3.0), True, jnp.asarray(3)):
        changed = ag.update(circuit, {"const.value": value})
        assert changed.value.dtype == jnp.float32
        run(changed)
    assert run(circuit) == 2.0
    assert compilations == 1


def test_parameters_and_update_work_under_transformations():
    circuit = ag.Scalar(2.0) >> ag.Scalar(3.0)

    def product(value):
        changed = ag.parameters(ag.update(circuit, {"scalar[1].factor": value}))
        return changed["scalar[0].factor"] * changed["scalar[1].factor"] ** 2

    assert jax.jit(jax.grad(product))(5.0) == 20.0
    assert jax.vmap(product)(jnp.arange(3.0)).tolist() == [0.0, 2.0, 8.0]
    assert jax.jit(lambda c: ag.parameters(c)["scalar[0].factor"])(circuit) == 2.0
    gradient = jax.grad(lambda c: ag.parameters(c)["scalar[1].factor"] ** 2)(circuit)
    assert ag.parameters(gradient) == {"scalar[0].factor": 0.0, "scalar[1].factor": 6.0}


LOOP = ag.Scalar(2.0) >> ag.Register("t", jnp.zeros(3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scaler.factor": 1.0}, "'scaler.factor'; did you mean scalar.factor?"),
        ({"q": 1.0}, "'q'; the circuit has scalar.factor, register.initial"),
        ({3: 1.0}, "unknown parameter 3"),
        ({"register.initial": 1.0}, "has shape (3,), but the new value has ()"),
        ({"register.initial": np.zeros((1, 3))}, "has shape (3,), but the new value has (1, 3)"),
        ({"scalar.factor": 1j}, "is float64: no place for a complex128"),
        ({"scalar.factor": "two"}, "is an array or number, not 'two'"),
        ({"scalar.factor": None}, "is an array or number, not None"),
        ([1.0], "update takes names and values, not list"),
    ],
)
def test_wrong_updates_are_told(values, message):
    with pytest.raises(ag.CircuitError, match=re.escape(message)):
        ag.update(LOOP, values)


def test_long_lists_of_names_are_cut_and_empty_ones_told():
    with pytest.raises(ag.CircuitError, match="and 90 more"):
        ag.update(ag.Composition(*[ag.Scalar(1.0)] * 100), {"q": 1.0})
    with pytest.raises(ag.CircuitError, match="the circuit has none"):
        ag.update(ag.Exp(), {"q": 1.0})
    with pytest.raises(ag.CircuitError, match="of a circuit, not of float"):
        ag.parameters(1.0)


def test_circuits_of_thousands():
    circuit = ag.Composition(*[ag.Scalar(float(i)) for i in range(2000)])
    values = ag.parameters(circuit)
    assert values["scalar[1999].factor"] == 1999.0
    changed = ag.update(circuit, {name: value + 1 for name, value in values.items()})
    assert ag.parameters(changed)["scalar[0].factor"] == 1.0
