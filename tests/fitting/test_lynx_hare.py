"""Lotka-Volterra fitted to pelt records: the optimum, from where it is found, how well known."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.optimize
from systems import lotka_volterra

import asgard as ag

RECORDS = Path(__file__).parents[2] / "examples" / "data" / "lynx_hare.csv"
OPTIMUM = np.array([0.54016, 0.027165, 0.79638, 0.023695, 34.602, 5.8445])
ERROR = 0.219234
ROUGH = (1.0, 0.05, 1.0, 0.05, 30.0, 4.0)
CALCULUS = ag.Real(order=12, rtol=1e-8, max_steps=128)


class LotkaVolterra(ag.Block):
    """Hare and lynx by their six numbers."""

    a: jax.Array
    b: jax.Array
    c: jax.Array
    d: jax.Array
    x: jax.Array
    y: jax.Array

    def circuit(self):
        return lotka_volterra(self.a, self.b, self.c, self.d, self.x, self.y)


def circuit(numbers, kind=ag.Positive):
    return LotkaVolterra(*(kind(number) for number in numbers))


def place(circuit):
    return np.stack([np.asarray(value) for value in ag.parameters(circuit).values()], axis=-1)


years, *counted = np.loadtxt(RECORDS, delimiter=",", skiprows=1, unpack=True)
DATA = (jnp.asarray(years - years[0]), jnp.log(jnp.asarray(counted)))


def residuals(circuit, ts, logs):
    """Differences of logarithms, [species, years]."""
    return jnp.log(jnp.stack(ag.simulate(circuit, ts, calculus=CALCULUS).outputs)) - logs


def root_mean_square(circuit, ts, logs):
    return jnp.sqrt(jnp.mean(residuals(circuit, ts, logs) ** 2))


@pytest.fixture(scope="module")
def optimum():
    return ag.fit_residuals(circuit(ROUGH), residuals, args=DATA, steps=40)


def test_levenberg_marquardt_finds_the_optimum_from_a_rough_start(optimum):
    assert optimum.status == ag.FitStatus.converged
    np.testing.assert_allclose(place(optimum.circuit), OPTIMUM, rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(optimum.loss / 42), ERROR, rtol=1e-5)
    # The losses are those of the evaluations: a dozen come to the last digits shown here.
    errors = np.sqrt(np.asarray(optimum.losses[: int(optimum.steps)]) / 42)
    np.testing.assert_allclose(errors[0], root_mean_square(circuit(ROUGH), *DATA), rtol=1e-9)
    assert np.all(np.diff(errors) <= 0)
    np.testing.assert_allclose(errors[13], ERROR, rtol=1e-3)


@pytest.mark.slow
def test_adam_finds_the_optimum_from_most_starts_within_a_factor_of_two():
    factors = 2 ** jax.random.uniform(jax.random.key(0), (6, 32), minval=-1, maxval=1)
    starts = LotkaVolterra(*map(ag.Positive, OPTIMUM[:, None] * factors))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 800))
    found = ag.fit_ensemble(
        starts, root_mean_square, args=DATA, optimizer=optimizer, steps=800, agreement=1e-3
    )
    errors = np.abs(place(found.all.circuit) / OPTIMUM - 1).max(axis=1)
    assert np.sum(errors < 1e-3) >= 28
    assert found.agree >= 28
    np.testing.assert_allclose(found.best.loss, ERROR, rtol=1e-5)
    np.testing.assert_allclose(place(found.best.circuit), OPTIMUM, rtol=1e-3)


def scipy_residuals(numbers):
    """The same by SciPy."""
    a, b, c, d, *start = numbers

    def rates(t, state):
        x, y = state
        return [a * x - b * x * y, -c * y + d * x * y]

    options = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-12, "t_eval": DATA[0]}
    found = scipy.integrate.solve_ivp(rates, (0, 20), start, **options)
    return (np.log(found.y) - np.asarray(DATA[1])).ravel()


def test_standard_errors_and_correlations_are_those_of_scipy(optimum):
    found = ag.uncertainty(optimum.circuit, residuals, args=DATA)
    options = {"x_scale": OPTIMUM, "jac": "3-point", "xtol": 1e-12, "ftol": 1e-12}
    theirs = scipy.optimize.least_squares(scipy_residuals, OPTIMUM, **options)
    covariance = 2 * theirs.cost / (42 - 6) * np.linalg.inv(theirs.jac.T @ theirs.jac)
    errors = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(found.values, theirs.x, rtol=1e-6)
    np.testing.assert_allclose(found.standard_errors, errors, rtol=1e-5)
    correlation = covariance / np.outer(errors, errors)
    np.testing.assert_allclose(found.correlation, correlation, atol=1e-5)
    assert found.names == ("a", "b", "c", "d", "x", "y")
    assert found["c"] == found.standard_errors[2]
    # Each number is known to some percent, and the numbers stand in for one another but little.
    assert 1 < found.condition < 1e3


@pytest.mark.slow
def test_an_optimum_has_no_gradient(optimum):
    slope = jax.grad(root_mean_square)(optimum.circuit, *DATA)
    assert np.all(np.abs(place(slope) * OPTIMUM) < 1e-6)
