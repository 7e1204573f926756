"""Standard errors of statistics: against closed forms, and by how often they cover."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag
from asgard import statistics

PATHS = 6000
BROWNIAN = ag.sde(lambda t, x: 0.0 * x, lambda t, x: jnp.ones_like(x), 0.0)
STATISTICS = (
    statistics.Mean(),
    statistics.Variance(),
    statistics.Quantiles(low=-6.0, high=6.0, probabilities=[0.05, 0.5]),
)
ERRORS = tuple(map(statistics.StandardError, STATISTICS))


def run(paths=PATHS, **options):
    options = {"key": jax.random.key(0), "tile": 500, "reduce": ERRORS, **options}
    calculus = ag.Stochastic(steps=1)
    return ag.ensemble(BROWNIAN, [0.0, 1.0], calculus=calculus, paths=paths, **options)


def reduced(reduction, values):
    """The statistic of values `[parts, paths]`, merged part by part."""
    alive = jnp.ones(values.shape[1], bool)
    parts = [reduction.tile(part, alive) for part in values]
    found = parts[0]
    for part in parts[1:]:
        found = reduction.merge(found, part)
    return reduction.result(found)


@pytest.fixture(scope="module")
def whole():
    return run().statistics


def test_errors_of_a_brownian_motion_are_those_of_the_normal_distribution(whole):
    mean, variance, quantiles = whole
    # Each is itself estimated, from 6,000 paths.
    np.testing.assert_allclose(mean[1], 1 / np.sqrt(PATHS), rtol=0.04)
    np.testing.assert_allclose(variance[1], np.sqrt(2 / (PATHS - 1)), rtol=0.08)
    density = np.array([0.1031356, 0.3989423])  # of the normal distribution at these quantiles
    expected = np.sqrt([0.05 * 0.95 / PATHS, 0.25 / PATHS]) / density
    np.testing.assert_allclose(quantiles[1], expected, rtol=0.2)


def test_errors_of_paths_that_all_start_alike_are_zero(whole):
    mean, variance, _ = whole
    assert mean[0] == 0
    assert variance[0] == 0


@pytest.mark.slow
def test_errors_go_on_with_more_paths_and_over_tiles_to_the_same_bits(whole):
    more = run(state=run(PATHS // 2).state)
    for one, other in zip(whole, more.statistics, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def many():
    """The statistics and errors of 2,000 sets of 400 normal variables."""
    draws = jax.random.normal(jax.random.key(1), (2000, 4, 100))
    medians = statistics.Quantiles(low=-8.0, high=8.0, probabilities=[0.5])
    chosen = {"mean": statistics.Mean(), "variance": statistics.Variance(), "median": medians}

    def one(values):
        return {
            name: tuple(jnp.ravel(reduced(r, values))[0] for r in (s, statistics.StandardError(s)))
            for name, s in chosen.items()
        }

    return jax.jit(jax.vmap(one))(draws)


@pytest.mark.parametrize(("name", "value"), [("mean", 0.0), ("variance", 1.0), ("median", 0.0)])
def test_intervals_cover_as_often_as_they_say(name, value, many):
    found, errors = many[name]
    covered = np.mean(np.abs(found - value) < 1.96 * errors)
    # Errors are estimated, too, so that intervals of 400 values fall a little short of 0.95.
    assert 0.92 < covered < 0.965
    np.testing.assert_allclose(np.mean(errors), np.std(found), rtol=0.06)


def test_moments_merged_from_uneven_parts_are_those_of_all_values():
    values = jax.random.gamma(jax.random.key(2), 2.0, (90,))
    alive = jnp.arange(90) < 70

    @jax.jit
    def merged(values):
        error = ERRORS[1]
        parts = ((values[:7], jnp.ones(7, bool)), (values[7:], alive[7:]))
        return error.result(error.merge(*(error.tile(*part) for part in parts)))

    known = np.asarray(values[alive])
    n, away = len(known), known - known.mean()
    spread = np.mean(away**4) - (n - 3) / (n - 1) * np.var(known, ddof=1) ** 2
    np.testing.assert_allclose(merged(values), np.sqrt(spread / n), rtol=1e-13)


@jax.jit
def errors_of_few():
    """Errors of the mean and of the variance of 1, 3 and 4 values."""
    counts = (jnp.arange(float(count))[None] for count in (1, 3, 4))
    return [[reduced(error, values) for error in ERRORS[:2]] for values in counts]


def test_errors_of_too_few_paths_are_nan():
    assert np.isnan(errors_of_few()).tolist() == [[True, True], [False, True], [False, False]]


def test_a_standard_error_of_something_else_is_refused():
    for wrong in (statistics.Min(), statistics.StandardError(statistics.Mean())):
        with pytest.raises(ag.CircuitError, match="that of a Mean, a Variance or Quantiles"):
            statistics.StandardError(wrong)
    with pytest.raises(ag.CircuitError, match="of real numbers"):
        ERRORS[0].tile(jnp.ones(3, complex), jnp.ones(3, bool))
