"""Batches of equations that multiply matrices of their states, or convolve: as many runs alone."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow
from jax import lax

import asgard as ag
from asgard.calculi.real import again

BATCH = 3
CALCULUS = ag.Real(method=ag.Tsit5(), rtol=1e-4, atol=1e-4, max_steps=128)
NUMBERS = np.random.default_rng(0).normal


def attention(weights, y):
    query, key, value = (y @ weight for weight in weights)
    return jax.nn.softmax(query @ key.T) @ value - y


def convolved(weights, y):
    weight = jnp.stack([weights])
    return lax.conv_general_dilated(jnp.tanh(y)[None, None], weight, (1, 1), "SAME")[0, 0] - y


def of_lanes_alone(weights, y):
    return jnp.tanh(y @ y.T) @ y - y + weights[0][0, 0]


CASES = {
    "attention": (attention, NUMBERS(size=(3, 2, 2)), NUMBERS(size=(BATCH, 4, 2))),
    "convolution": (convolved, NUMBERS(size=(1, 3, 3)), NUMBERS(size=(BATCH, 4, 4))),
    "a product of states": (of_lanes_alone, NUMBERS(size=(1, 1, 1)), NUMBERS(size=(BATCH, 4, 2))),
}


def end(field, weights, start):
    circuit = ag.ode(lambda t, y: field(weights, y), start)
    return ag.simulate(circuit, [0.0, 1.0], calculus=CALCULUS, throw=False).output[-1]


@pytest.mark.parametrize("name", ["attention", *map(slow, ["convolution", "a product of states"])])
@pytest.mark.parametrize("points", ["all points", slow("few points")])
def test_batches_have_the_values_and_derivatives_of_runs_alone(name, points, monkeypatch):
    field, weights, starts = CASES[name]
    if points == "few points":
        monkeypatch.setattr(again, "POINTS", 0)

    def loss(weights, starts):
        return jnp.sum(jnp.cos(jax.vmap(lambda start: end(field, weights, start))(starts)))

    def alone(weights, starts):
        return sum(jnp.sum(jnp.cos(end(field, weights, start))) for start in starts)

    found, slopes = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(weights, starts)
    value, expected = jax.jit(jax.value_and_grad(alone, argnums=(0, 1)))(weights, starts)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), slopes, expected
    )
    each = jax.jit(jax.vmap(jax.grad(lambda start: jnp.sum(jnp.cos(end(field, weights, start))))))
    np.testing.assert_allclose(each(starts), expected[1], rtol=1e-5, atol=1e-8)


def test_a_batch_of_convolutions_goes_through_them_at_once():
    field, weights, _ = CASES["convolution"]
    run = jax.jit(jax.vmap(lambda start: end(field, weights, start)))
    text = run.lower(jnp.ones((BATCH, 48, 48))).as_text()
    # The slope at the start, that which finds the first size, and the six of a step, of all runs.
    assert text.count("stablehlo.convolution") == 1 + 1 + 6
    pictures = re.findall(r"stablehlo.convolution.*-> tensor<([x\d]*)xf64>", text)
    assert {math.prod(map(int, one.split("x"))) for one in pictures} == {BATCH * 48 * 48}


def test_the_largest_of_some_numbers_is_not_searched_for_in_a_step():
    start = jnp.array([[1.0, 3.0], [2.0, 0.5]])
    circuit = ag.ode(lambda t, y: jnp.max(y, axis=1, keepdims=True) - y, start)

    def run(method):
        calculus = ag.Real(method=method, rtol=1e-8, atol=1e-8)
        return ag.simulate(circuit, [0.0, 1.0], calculus=calculus).output[-1]

    compiled = jax.jit(lambda: run(ag.Tsit5())).lower().compile()
    # A search reduces numbers and their indices.
    assert not re.search(r"= \(f64\S+ s\d+\S+\) reduce\(", compiled.as_text())
    found = compiled()
    np.testing.assert_allclose(found, run(ag.Taylor(12)), rtol=1e-7)
    most = np.max(start, axis=1, keepdims=True)
    np.testing.assert_allclose(found, most + (start - most) * np.exp(-1.0), rtol=1e-7)


def test_a_gradient_of_many_numbers_makes_room_for_few_points():
    def last(start):
        calculus = ag.Real(method=ag.Tsit5(), max_steps=1024)
        circuit = ag.ode(lambda t, y: -y * y, start)
        return jnp.sum(ag.simulate(circuit, [0.0, 1.0], calculus=calculus).output[-1])

    memory = jax.jit(jax.grad(last)).lower(jnp.ones(40_000)).compile().memory_analysis()
    # 1,024 points of 40,000 numbers take 330 MB.
    assert memory.temp_size_in_bytes < 100e6
