"""Functions under `jax.custom_jvp`, whose operations may say nothing of their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_both_modes
from jax import lax
from systems import ode

import asgard as ag


@jax.custom_jvp
def root(y):
    """The square root by halves of an interval: its operations have the derivative 0."""

    def half(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = middle**2 > y
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    ends = jnp.zeros_like(y), jnp.full_like(y, 4.0)
    low, high = lax.fori_loop(0, 60, half, ends)
    return (low + high) / 2


@root.defjvp
def _(primals, tangents):
    found = root(*primals)
    return found, tangents[0] / (2 * found)


def root_by_jax(y):
    """The same digit by digit, by a function of JAX."""

    def solve(fn, _):
        def digit(place, z):
            more = z + 0.5**place
            return jnp.where(fn(more) > 0, z, more)

        return lax.fori_loop(0, 50, digit, jnp.zeros_like(y))

    return lax.custom_root(lambda z: z**2 - y, y, solve, lambda fn, move: move / fn(1.0))


@jax.custom_jvp
def sine(y):
    return jnp.sin(y)


sine.defjvp(lambda primals, tangents: (sine(*primals), jnp.cos(primals[0]) * tangents[0]))


def end(field, start, method):
    return ag.simulate(ode(field, start), [0.0, 1.0], calculus=ag.Real(method=method)).output[-1]


@pytest.mark.parametrize(
    ("fn", "method"),
    [(root, ag.Tsit5()), (root, ag.Radau()), (root_by_jax, ag.Tsit5())],
    ids=["Tsit5", "Radau", "JAX's"],
)
def test_runs_have_the_derivative_that_a_function_says(fn, method):
    # y' = -sqrt(y), y(0) = y0: y = (sqrt(y0) - t / 2)^2.
    values, forward, reverse = in_both_modes(lambda y: end(lambda y: -fn(y), y, method), 2.25)
    np.testing.assert_allclose(values, 1.0, rtol=1e-5)
    np.testing.assert_allclose(forward, [[1 / 1.5]], rtol=1e-5)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9)


def test_newton_s_iterations_read_it():
    def steps(fn):
        def field(y):
            return -1e4 * (fn(y) - 1.0) + jnp.roll(y, 1)

        circuit = ode(field, jnp.linspace(1.0, 2.0, 40))
        return ag.simulate(circuit, [0.0, 1.0], calculus=ag.Real(method=ag.Radau())).stats

    known, searched = steps(jnp.sqrt), steps(root)
    assert searched["steps"] < 1.2 * known["steps"] + 5
    assert searched["rejected"] <= known["rejected"] + 3


def test_taylor_steps_expand_the_operations():
    exact, values = (end(fn, 1.0, ag.Taylor()) for fn in (jnp.sin, sine))
    np.testing.assert_allclose(values, exact, rtol=1e-14)
    with pytest.raises(ag.SimulationError, match="steps"):
        ag.simulate(
            ode(lambda y: -root(y), 2.25), [0.0, 1.0], calculus=ag.Real(order=8, max_steps=50)
        )
