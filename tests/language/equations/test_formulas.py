"""Functions as equations: what their code computes is written out."""

import functools
import operator

import jax
import jax.numpy as jnp
import pytest
from four_ways_systems import SYSTEMS
from jax.scipy.special import erf

import asgard as ag
from asgard.language.rewriting.comparing import same_system

pytestmark = pytest.mark.usefixtures("unchecked")

# Arrays, a delay that begins at 1, a loop that is not solved from 0.
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
            inputs = [f"u{n + 1}" for n in range(circuit.n_in)]
            noise = () if system.calculus is None else ("W",)
            again = ag.equations(text, outputs=outputs, inputs=inputs, noise=noise)
            assert same_system(again, circuit), text


def text_of(rate):
    return ag.to_equations(ag.ode(lambda t, y: rate(y), 2.0)).removeprefix("y = 2 + ")


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
}


@pytest.mark.parametrize("text", FORMULAS)
def test_code_is_written_as_formulas(text):
    assert text_of(FORMULAS[text]) == text


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (jnp.cbrt, "uses the JAX primitive 'cbrt' as no equation does"),
        (lambda y: jnp.sum(y * jnp.ones(2)), "holds what is no known real number"),
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
