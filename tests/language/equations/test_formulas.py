"""Functions as equations: what their code computes is written out."""

import functools
import itertools
import operator
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from four_ways_systems import SYSTEMS
from jax.scipy.special import erf

import asgard as ag
from asgard.language.rewriting.comparing import same_system

pytestmark = pytest.mark.usefixtures("unchecked")

# Arrays; delays that begin at 1, which are written as 1 + delay(x - 1); a loop not solved from 0.
NO_TEXT = {"Lorenz-96 of 20", "neural ODE, Tsit5", "Fibonacci", "the logistic map", "smoothing"}
WRITTEN = [s for s in SYSTEMS if s.name not in {*NO_TEXT, "a loop without registers"}]


@pytest.mark.parametrize("system", WRITTEN, ids=lambda system: system.name)
def test_a_function_prints_as_equations_that_say_it(system):
    for form, build in system.forms.items():
        if form in ("function", "right side"):
            circuit = build(**system.numbers)
            outputs = [f"out{n}" for n in range(circuit.n_out)]
            named = circuit >> functools.reduce(operator.matmul, map(ag.Var, outputs))
            text = ag.to_equations(named)
            said = {
                "inputs": [f"u{n + 1}" for n in range(circuit.n_in)],
                "noise": () if system.calculus is None else ("W",),
                "parameters": {
                    re.sub(r"\W+", "_", name).strip("_"): value
                    for name, value in ag.parameters(named).items()
                },
            }
            again = ag.equations(text, outputs=outputs, **said)
            assert same_system(again, circuit), text
            text = ag.to_equations(named, values=True)
            assert not any(name in text for name in said["parameters"])


@ag.circuit
def heated(outside, t_air, *, power, rates=(0.5, 2.0), x=15.0, t=1.0):
    temperature = ag.register("t", 2 * x)
    temperature.input = power * outside / t - rates[0] * temperature + t_air
    return {"x": temperature, "t_air": t_air}


class Twice(ag.Block):
    rate: jax.Array

    def circuit(self):
        return ag.Split() >> ag.Scalar(self.rate) @ ag.Scalar(2 * self.rate) >> ag.Add()


NAMED = {
    # x is a wire, t the time, and no text says how an entry of an array is read.
    "x = 30 + int(power*outside/1 - 0.5*x + t_air, t)": heated(power=ag.Fixed(20.0)),
    "x1 = rate*u1 + 2*rate*u1": Twice(0.5),
    "x1 = twice_0_rate*u1 + 2*twice_0_rate*u1\nx2 = twice_1_rate*x1 + 2*twice_1_rate*x1": (
        Twice(0.5) >> Twice(1.5)
    ),
    "x1 = 2*u1": ag.Scalar(2.0),
}


@pytest.mark.parametrize("text", NAMED)
def test_numbers_of_blocks_are_written_by_their_names(text):
    assert ag.to_equations(NAMED[text]) == text


def test_a_sequence_that_begins_elsewhere_than_at_0():
    text = ag.to_equations(ag.recurrence(lambda n, y, *, r: r * y * (1 - y), 0.3, r=3.7))
    assert text == "y = y0 + delay(r*y*(1 - y) - y0)"
    again = ag.equations(text, parameters={"r": 3.7, "y0": 0.3})
    found = ag.simulate(again, range(4), calculus=ag.Discrete())["y"]
    logistic = itertools.accumulate(range(3), lambda y, _: 3.7 * y * (1 - y), initial=0.3)
    np.testing.assert_allclose(found, list(logistic), rtol=1e-14)


def text_of(rate):
    return ag.to_equations(ag.ode(lambda t, y: rate(y), 2.0)).removeprefix("y = y0 + ")


FORMULAS = {
    "int(sin(y)^2/y, t)": lambda y: jnp.sin(y) ** 2 / y,
    "int(-3*(y - 1), t)": lambda y: -3.0 * (y - 1),
    "int(1/sqrt(y) - exp(y)*2, t)": lambda y: jax.lax.rsqrt(y) - jnp.exp(y) * 2,
    "int(log(1 + y) + exp(-y) - 1, t)": lambda y: jnp.log1p(y) + jnp.expm1(-y),
    "int(if(y < 1, y, -y), t)": lambda y: jnp.where(y < 1.0, y, -y),
    "int(maximum(y, 0)*erf(y)*sigmoid(y), t)": lambda y: (
        jnp.maximum(y, 0.0) * erf(y) * jax.nn.sigmoid(y)
    ),
    "int(y^1.5 + tanh(abs(y)), t)": lambda y: y**1.5 + jnp.tanh(jnp.abs(y)),
    "int(maximum(y, 0) - y, t)": lambda y: jax.nn.relu(y) - y,
    "int(if((y > 1)*(y < 3), y, 2), t)": lambda y: jnp.where((y > 1) & (y < 3), y, 2.0),
    "int(if(maximum(y < 1, 1 - (y < 3)), y, 2), t)": lambda y: jnp.where(
        (y < 1) | ~(y < 3), y, 2.0
    ),
    "int((y > 1) - (y != 0), t)": lambda y: (y > 1.0).astype(float) - y.astype(bool),
}


@pytest.mark.parametrize("text", FORMULAS)
def test_code_is_written_as_formulas(text):
    assert text_of(FORMULAS[text]) == text


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (jnp.cbrt, "uses the JAX primitive 'cbrt' as no equation does"),
        (lambda y: y.astype(int) * y, "cuts numbers to integers as no equation does"),
        (lambda y: jnp.sum(y * jnp.ones(2)), "ode holds an array of shape"),
        (lambda y: jnp.real(jnp.exp(1j * y)), "'real' as|no known real number"),
        (lambda y: _squared(y, 12), "has more than 1000 parts"),
    ],
)
def test_code_that_is_no_formula_is_refused(rate, message):
    with pytest.raises(ag.CircuitError, match=message):
        text_of(rate)


def _squared(y, times):
    for _ in range(times):
        y = y * y + y
    return y


def test_a_wire_that_carries_an_array_has_no_text():
    with pytest.raises(ag.CircuitError, match="a wire in ode carries an array"):
        ag.to_equations(ag.ode(lambda t, y: -y, jnp.ones(2)))
