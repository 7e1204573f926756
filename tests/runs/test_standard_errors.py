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


def test_errors_of_a_brownian_motion_are_those_of_the_normal_distribution():
    mean, variance, quantiles = run().statistics
    # Each is itself estimated, from 6,000 paths.
    np.testing.assert_allclose(mean[1], 1 / np.sqrt(PATHS), rtol=0.04)
    np.testing.assert_allclose(variance[1], np.sqrt(2 / (PATHS - 1)), rtol=0.08)
    density = np.array([0.1031356, 0.3989423])  # of the normal distribution at these quantiles
    expected = np.sqrt([0.05 * 0.95 / PATHS, 0.25 / PATHS]) / density
    np.testing.assert_allclose(quantiles[1], expected, rtol=0.2)


def test_errors_of_paths_that_all_start_alike_are_zero():
    mean, variance, _ = run().statistics
    assert mean[0] == 0
    assert variance[0] == 0


def test_errors_go_on_with_more_paths_and_over_tiles_to_the_same_bits():
    half = run(PATHS // 2)
    whole, more = run(), run(state=half.state)
    for one, other in zip(whole.statistics, more.statistics, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def many():
    """The statistics and errors of 2,000 sets of 400 exponential variables."""
    draws = jax.random.exponential(jax.random.key(1), (2000, 4, 100))
    medians = statistics.Quantiles(low=0.0, high=20.0, probabilities=[0.5])
    chosen = {"mean": statistics.Mean(), "variance": statistics.Variance(), "median": medians}

    def one(values):
        return {
            name: tuple(jnp.ravel(reduced(r, values))[0] for r in (s, statistics.StandardError(s)))
            for name, s in chosen.items()
        }

    return jax.jit(jax.vmap(one))(draws)


@pytest.mark.parametrize(
    ("name", "value"), [("mean", 1.0), ("variance", 1.0), ("median", 0.693147)]
)
def test_intervals_cover_as_often_as_they_say(name, value, many):
    found, errors = many[name]
    covered = np.mean(np.abs(found - value) < 1.96 * errors)
    # The fourth moment of 400 exponential variables is a rough one: intervals fall a little short.
    assert 0.92 < covered < 0.965
    np.testing.assert_allclose(np.mean(errors), np.std(found), rtol=0.05)


def test_moments_merged_from_uneven_parts_are_those_of_all_values():
    values = np.asarray(jax.random.gamma(jax.random.key(2), 2.0, (90,)))
    error = statistics.StandardError(statistics.Variance())
    alive = np.arange(90) < 70
    small = error.tile(jnp.asarray(values[:7]), jnp.ones(7, bool))
    large = error.tile(jnp.asarray(values[7:]), jnp.asarray(alive[7:]))
    known = values[alive]
    n, away = len(known), known - known.mean()
    spread = np.mean(away**4) - (n - 3) / (n - 1) * np.var(known, ddof=1) ** 2
    found = error.result(error.merge(small, large))
    np.testing.assert_allclose(found, np.sqrt(spread / n), rtol=1e-13)


def test_errors_of_too_few_paths_are_nan():
    for count, (mean, variance) in {1: (True, True), 3: (False, True), 4: (False, False)}.items():
        values = jnp.arange(float(count))[None]
        assert np.isnan(reduced(ERRORS[0], values)) == mean
        assert np.isnan(reduced(ERRORS[1], values)) == variance


def test_a_standard_error_of_something_else_is_refused():
    for wrong in (statistics.Min(), statistics.StandardError(statistics.Mean())):
        with pytest.raises(ag.CircuitError, match="that of a Mean, a Variance or Quantiles"):
            statistics.StandardError(wrong)
    with pytest.raises(ag.CircuitError, match="of real numbers"):
        ERRORS[0].tile(jnp.ones(3, complex), jnp.ones(3, bool))
