"""Explicit Runge-Kutta methods: their tableaus, and what every method of steps gives.

`test_methods.py` has what holds for any method; here is what belongs to these.
"""

from types import SimpleNamespace

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import decay, ode

import asgard as ag
from asgard.calculi.real.methods.runge_kutta import RungeKutta
from asgard.calculi.real.methods.tableaus import DOPRI8, TSIT5

TABLEAUS = {"Tsit5": TSIT5, "Dopri8": DOPRI8}


def matrix(tableau):
    """All stages of a tableau as a square matrix, with those of its dense output."""
    rows = [(), *tableau.stages, *tableau.more]
    found = np.zeros((len(rows), len(rows)))
    for number, row in enumerate(rows):
        found[number, : len(row)] = row
    return found


@pytest.mark.parametrize("name", TABLEAUS)
def test_a_tableau_satisfies_the_conditions_of_its_order_on_quadratures(name):
    tableau = TABLEAUS[name]
    times, weights = np.array(tableau.times), np.array(tableau.stages[-1])
    stages = matrix(tableau)
    np.testing.assert_allclose(stages.sum(1), times, atol=1e-13)
    nodes = times[: len(weights)]
    for power in range(tableau.order):
        np.testing.assert_allclose(weights @ nodes**power, 1 / (power + 1), atol=1e-13)
    for row in tableau.errors:
        assert abs(sum(row)) < 1e-13


@pytest.mark.parametrize("name", TABLEAUS)
def test_the_dense_output_meets_the_solution_at_both_ends(name):
    tableau = TABLEAUS[name]
    dense = np.array(tableau.dense)
    whole = np.zeros(len(dense))
    whole[: len(tableau.stages[-1])] = tableau.stages[-1]
    # At the end the polynomial is the solution, with its slope; at the start the slope is right.
    np.testing.assert_allclose(dense.sum(1), whole, atol=1e-12)
    slope = dense @ np.arange(1, dense.shape[1] + 1)
    at_end = np.eye(len(dense))[len(tableau.stages)]
    np.testing.assert_allclose(slope, at_end, atol=1e-11)
    np.testing.assert_allclose(dense[:, 0], np.eye(len(dense))[0], atol=1e-13)


@pytest.mark.parametrize("name", TABLEAUS)
def test_the_method_is_stable_on_the_negative_axis_as_far_as_it_says(name):
    tableau = TABLEAUS[name]
    count = len(tableau.stages)
    stages, weights = matrix(tableau)[:count, :count], np.array(tableau.stages[-1])

    def factor(z):
        return 1 + z * weights @ np.linalg.solve(np.eye(count) - z * stages, np.ones(count))

    inside = np.linspace(-tableau.stability, -0.01, 50)
    assert all(abs(factor(z)) <= 1 for z in inside)
    assert abs(factor(-1.1 * tableau.stability)) > 1


def pendulum(start):
    return ode(lambda y: jnp.stack([y[1], -jnp.sin(y[0])]), start)


@pytest.mark.parametrize(
    ("method", "order"), [(ag.Tsit5(), 5), (ag.Dopri8(), 8)], ids=["Tsit5", "Dopri8"]
)
def test_the_error_falls_with_the_order(method, order):
    start, ts = jnp.array([1.0, 0.0]), jnp.array([0.0, 4.0])

    def end(longest):
        # A tolerance that refuses no step: all are as long as they may be.
        calculus = ag.Real(method=method, rtol=1.0, atol=1e3, max_step=longest)
        return ag.simulate(pendulum(start), ts, calculus=calculus).output[-1]

    truth = ag.simulate(pendulum(start), ts).output[-1]
    sizes = np.array([0.5, 0.25])
    errors = [np.abs(end(size) - truth).max() for size in sizes]
    slope = np.log2(errors[0] / errors[1])
    assert order - 0.7 < slope < order + 1.3


def test_a_stiff_run_ends_early_and_says_what_to_use():
    stiff = ode(lambda y: jnp.stack([-1e6 * (y[0] - jnp.cos(y[1])), 1.0 + 0 * y[0]]), jnp.ones(2))
    for method in (ag.Tsit5(), ag.Taylor(10)):
        calculus = ag.Real(method=method, rtol=1e-6, atol=1e-6)
        run = ag.simulate(stiff, [0.0, 1.0], calculus=calculus, throw=False)
        assert run.status == ag.Status.stiff
        assert int(run.stats["steps"]) < 1000
    with pytest.raises(ag.SimulationError, match=r"Radau\(\)"):
        ag.simulate(stiff, [0.0, 1.0], calculus=calculus)
    # A run that has the steps to get to its end does.
    calculus = ag.Real(method=ag.Tsit5(), rtol=1e-4, atol=1e-4)
    run = ag.simulate(decay(1e3), [0.0, 20.0], calculus=calculus)
    assert run.status == ag.Status.ok


def test_an_estimate_that_passes_zero_by_chance_accepts_no_step():
    """After the second pulse the next step is to t = 10 at once, 5.654 long."""
    edges = np.array([3.23131267, 3.29267346, 4.31860824, 4.34591364])

    def rates(t, x):
        pulse = ((t >= edges[0]) & (t < edges[1])) | ((t >= edges[2]) & (t < edges[3]))
        return jnp.where(pulse, 1.0, 0.0) - x

    real = ag.Real(method=ag.Dopri8(), rtol=1e-6, atol=1e-6)
    found = ag.simulate(ag.ode(rates, jnp.zeros(())), [0.0, 10.0], calculus=real)
    exact = np.sum(np.exp(edges - 10) * [-1, 1, -1, 1])
    np.testing.assert_allclose(found.output[-1], exact, atol=1e-6)


def test_a_large_state_that_is_no_number_is_refused():
    """XLA drops NaN from maxima of 4,096 values and more, and past the last step nothing is asked
    for once more."""
    edge = ag.ode(lambda t, y: jnp.sqrt(0.5 - t) * y, jnp.ones(4096))
    calculus = ag.Real(method=ag.Tsit5(), rtol=1e-4, atol=1e-4)
    run = ag.simulate(edge, [0.0, 0.52], calculus=calculus, throw=False)
    assert run.status == ag.Status.nonfinite
    assert np.isnan(run.output[-1]).all()


@pytest.mark.parametrize("method", [ag.Tsit5(), helpers.slow(ag.Dopri8())])
def test_a_run_whose_times_are_no_numbers_leaves_the_others_of_its_batch_alone(method):
    def end(last):
        calculus = ag.Real(method=method, rtol=1e-6, atol=1e-6)
        run = ag.simulate(decay(1.0), jnp.stack([0.0, last]), calculus=calculus, throw=False)
        return run.output[-1], run.status

    found, status = jax.jit(jax.vmap(end))(jnp.array([jnp.nan, 1.0, 2.0]))
    np.testing.assert_allclose(found, np.exp([np.nan, -1.0, -2.0]), rtol=1e-5)
    np.testing.assert_array_equal(status == ag.Status.ok, [False, True, True])


def test_a_step_of_a_batch_of_networks_multiplies_six_times_and_cuts_nothing():
    weights = [0.1 * jnp.ones(shape) for shape in ((16, 2), *((16, 16),) * 6, (2, 16))]

    def slope(y):
        for matrix in weights[:-1]:
            y = jax.nn.softplus(matrix @ y)
        return weights[-1] @ y

    @jax.jit
    @jax.vmap
    def run(start):
        circuit = (ag.Function(slope, 1) >> ag.Register("t", start) >> ag.Split()).trace()
        calculus = ag.Real(method=ag.Tsit5(), rtol=1e-3, atol=1e-3)
        return ag.simulate(circuit, jnp.linspace(0, 1, 3), calculus=calculus, throw=False).output

    text = run.lower(jnp.ones((64, 2))).as_text()
    # The slope at the start, that which finds the first size, and the six of a step.
    assert text.count("stablehlo.dot_general") == (1 + 1 + 6) * len(weights)
    # Chains end at products of matrices, so no operation cuts them.
    assert "reduce_window" not in text
    # In each of the slopes, the exponential of each softplus is a branch that is always taken; six
    # more branches are the states of the stages, one asks what bounds the step where that matters,
    # and one is the step's polynomial.
    assert text.count("stablehlo.case") == (1 + 1 + 6) * (len(weights) - 1) + 6 + 1 + 1


def test_rounding_stands_for_no_more_than_some_digits_at_any_order():
    # Damping is as strong as orders from 14 on allow: the least tolerance would have no bound.
    for order in range(1, 30):
        method = SimpleNamespace(tableau=SimpleNamespace(order=order))
        method._exponent = vars(RungeKutta)["_exponent"].fget(method)
        assert 1 / 64 <= vars(RungeKutta)["_steady"].fget(method) < 1


def test_on_small_systems_a_step_of_tsit5_uses_a_twentieth_of_the_tolerance():
    calculus, steps = ag.Real(method=ag.Tsit5(), rtol=1e-4, atol=1e-4), {}
    for copies in (1, 33):  # 33 hold more than 64 numbers
        start = jnp.ones((2, copies)) * jnp.array([[1.0], [0.0]])
        circuit = ode(lambda y: jnp.stack([y[1], -y[0]]), start)
        steps[copies] = int(ag.simulate(circuit, [0.0, 40.0], calculus=calculus).stats["steps"])
    # By so much more are steps of order 5 whose errors are a twentieth.
    assert 0.9 * 20 ** (1 / 5) < steps[1] / steps[33] < 1.1 * 20 ** (1 / 5)
