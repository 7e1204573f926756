"""What an equation makes of time and state along a step: its degree, and whether it branches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag
from asgard.calculi.real.integral import _checks
from asgard.calculi.real.smoothness import branches_along, degree_along
from asgard.calculi.real.system import CHECKS, LOW_CHECKS, SMOOTH_CHECKS
from asgard.jaxprs.program import trace

MATRIX = np.random.default_rng(0).normal(size=(3, 3))


def shifted(y):
    """Depends on the largest entry, other than a softmax."""
    return jnp.exp(y - jax.lax.stop_gradient(jnp.max(y)))


# By the field: its degree, and the number of checks of a step.
FIELDS = {
    "linear": (lambda t, y: MATRIX @ y / 3 - y[::-1] + 1, 1, LOW_CHECKS),
    "nothing": (lambda t, y: jnp.ones(3), 1, LOW_CHECKS),
    "Lorenz": (lambda t, y: y * jnp.roll(y, 1) - y, 2, LOW_CHECKS),
    "a sum of squares": (lambda t, y: y * jnp.sum(y**2), 3, LOW_CHECKS),
    "time and state": (lambda t, y: t * t * y, 3, LOW_CHECKS),
    "of degree 4": (lambda t, y: (y * y) ** 2, 4, SMOOTH_CHECKS),
    "a pulse": (lambda t, y: y + (4 * t * (1 - t)) ** 30, 60, CHECKS),
    "a quotient": (lambda t, y: y / (1 + y * y), math.inf, SMOOTH_CHECKS),
    "a negative power": (lambda t, y: y**-1, math.inf, SMOOTH_CHECKS),
    "a sine": (lambda t, y: jnp.sin(y), math.inf, SMOOTH_CHECKS),
    "a maximum": (lambda t, y: jnp.maximum(y, 0), math.inf, CHECKS),
    "a softmax": (lambda t, y: jax.nn.softmax(y), math.inf, SMOOTH_CHECKS),
    "exponents shifted by their largest": (lambda t, y: shifted(y), math.inf, CHECKS),
    "whole numbers": (lambda t, y: y.astype(int).astype(float), math.inf, CHECKS),
    "an entry at a moving index": (lambda t, y: y[t.astype(int)] + y, math.inf, CHECKS),
    "a loop": (lambda t, y: jax.lax.fori_loop(0, 3, lambda i, x: x * x, y), math.inf, CHECKS),
}


@pytest.mark.parametrize("name", FIELDS)
def test_the_degree_of_an_equation_says_how_often_steps_are_checked(name):
    field, degree, checks = FIELDS[name]
    types = jax.ShapeDtypeStruct((), float), jax.ShapeDtypeStruct((3,), float)
    program = trace(lambda t, y: (field(t, y),), *types)
    assert degree_along(program, None) == degree
    assert _checks(program, None) == checks
    assert branches_along(program, None) == (checks == CHECKS and name != "a pulse")


def test_no_pulse_of_a_high_degree_is_stepped_over():
    # Its terms up to order 20 are zero at the start.
    circuit = ag.Function(lambda t: (4 * t * (1 - t)) ** 30, 1) >> ag.Register("t", 0.0)
    calculus = ag.Real(method=ag.Taylor(), max_step=1.0, rtol=1e-9)
    found = ag.simulate(circuit, [0.0, 1.0], inputs=(lambda t: t,), calculus=calculus)
    exact = 4.0**30 * math.factorial(30) ** 2 / math.factorial(61)
    np.testing.assert_allclose(found.output[-1], exact, rtol=1e-7)


def test_a_run_with_a_softmax_has_no_events_where_another_entry_becomes_the_largest():
    turning = np.array([[0.0, 2.0, -1.0], [-2.0, 0.0, 1.5], [1.0, -1.5, 0.0]])

    def softmax(y):
        powers = jnp.exp(4 * y)
        return turning @ (powers / jnp.sum(powers))

    fields = (lambda t, y: turning @ jax.nn.softmax(4 * y), lambda t, y: softmax(y))
    calculus = ag.Real(method=ag.Dopri8(), rtol=1e-8, atol=1e-8)
    start = jnp.array([1.0, 0.5, 0.2])
    runs = [ag.simulate(ag.ode(one, start), [0.0, 2.0, 5.0], calculus=calculus) for one in fields]
    first, second = (run.outputs[0] for run in runs)
    assert jnp.ptp(jnp.argmax(first, axis=1)) > 0
    np.testing.assert_allclose(first, second, rtol=1e-12)
    assert runs[0].stats.keys() == runs[1].stats.keys()  # no jumps are counted
    assert runs[0].stats["steps"] == runs[1].stats["steps"]
