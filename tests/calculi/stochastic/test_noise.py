"""Random numbers by counting: their source, their law, the bridge between steps."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.stats
from diffusions import geometric, wiener
from helpers import slow

import asgard as ag
from asgard.calculi.stochastic.jumps import poisson_tail
from asgard.calculi.stochastic.noise import (
    Numbers,
    Source,
    bridge,
    key_words,
    sign,
    threefry,
    uniform,
)
from asgard.calculi.stochastic.noise import increments as draw
from asgard.calculi.stochastic.normal import normal_pair

KEY = jax.random.key(3)


def numbers(paths, dtype=jnp.float64, key=KEY):
    return Numbers(key_words(key), dtype, jnp.asarray(paths, jnp.uint32))


def increments(source, process, first, count):
    """The increments of steps, in one compilation."""
    rows = jax.jit(lambda first: draw(source, process, first, count).rows(count)[:, 0])
    return np.asarray(rows(jnp.uint32(first)))


def bridged(source, process, count, halvings):
    """Increments and areas of steps from 0 on, halved, in one compilation."""
    return jax.jit(lambda first: bridge(source, process, first, count, halvings))(jnp.uint32(0))


def test_threefry_gives_the_known_answers():
    # The vectors of Random123's kat_vectors for threefry2x32 with 20 rounds.
    known = [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]
    for key, counter, expected in known:
        found = jax.jit(threefry)(*(tuple(map(np.uint32, pair)) for pair in (key, counter)))
        assert tuple(map(int, found)) == expected


@pytest.mark.parametrize("dtype", [slow(jnp.float32), jnp.float64])
def test_normal_numbers_have_the_normal_law(dtype):
    source = numbers(range(50_000), dtype)

    @jax.jit
    def rows(first):
        return source.normals(source.key("W", [0], 2), first, 2, (2,)).rows(2)

    found = rows(np.uint32(0))
    assert found.dtype == dtype
    flat = np.asarray(found, np.float64).ravel()
    assert scipy.stats.kstest(flat, "norm").pvalue > 1e-3
    # Steps and components are independent: four columns without correlation.
    columns = np.asarray(found, np.float64)[:, 0].transpose(0, 2, 1).reshape(4, -1)
    correlation = np.corrcoef(columns)
    assert np.abs(correlation - np.eye(4)).max() < 4.5 / np.sqrt(50_000)


def test_the_two_numbers_of_a_block_are_independent_and_have_normal_tails():
    # They share a radius, which shows in no plain correlation.
    paths = 250_000
    source = numbers(range(paths), jnp.float32)
    x = np.asarray(increments(source, Source("W", ()), 0, 4), np.float64)
    count = x.size
    for power, moment in ((2, 1), (4, 3), (6, 15), (8, 105)):
        spread = np.sqrt((np.prod(np.arange(2 * power - 1, 0, -2.0)) - moment**2) / count)
        assert abs(np.mean(x**power) - moment) < 4 * spread
    for bound in (3.0, 4.0):
        share = 2 * scipy.stats.norm.sf(bound)
        assert abs(np.mean(np.abs(x) > bound) - share) < 4 * np.sqrt(share / count)
    assert np.abs(x).max() < 6.8
    for of in (np.abs, np.square, lambda x: x**3, lambda x: np.abs(x) > 2):
        for first, second in ((0, 1), (2, 3), (1, 2)):
            pair = np.corrcoef(of(x[first]), of(x[second]))[0, 1]
            assert abs(pair) < 4.5 / np.sqrt(paths)


@pytest.mark.parametrize("dtype", [slow(jnp.float32), jnp.float64])
def test_extreme_words_give_finite_numbers(dtype):
    words = (np.array([0, 1, 2**32 - 1], np.uint32),) * 2
    pair, part, side = jax.jit(
        lambda words: [f(words, dtype) for f in (normal_pair, uniform, sign)]
    )(words)
    assert np.all(np.isfinite(pair))
    assert np.all((part > 0) & (part < 1))
    assert np.all(np.abs(side) == 1)


@pytest.mark.parametrize(
    "key", [slow(KEY), jax.random.PRNGKey(3), slow(jax.random.key(3, impl="rbg"))]
)
def test_a_key_of_any_kind_seeds_a_run(key):
    run = ag.simulate(wiener(), [0.0, 1.0], calculus=ag.Stochastic(steps=4), key=key)
    other = ag.simulate(wiener(), [0.0, 1.0], calculus=ag.Stochastic(steps=4), key=key, path=1)
    assert run.output[-1] != other.output[-1]


def test_a_number_depends_on_nothing_but_its_own_path_step_component_and_source():
    alone = numbers([7])
    among = numbers(range(20))
    for size in (1, 3):
        second = increments(among, Source("W", (size,)), 0, 9)
        for step in (4, 5):
            first = increments(alone, Source("W", (size,)), step, 1)
            np.testing.assert_array_equal(first[0, 0], second[step, 7])
        np.testing.assert_array_equal(increments(among, Source("W", (size,)), 3, 5), second[3:8])
    other = increments(among, Source("V", (3,)), 0, 9)
    assert not np.any(other == second)


def test_float32_draws_the_numbers_of_float64():
    rows = [increments(numbers(range(5_000), t), Source("W", ()), 0, 9) for t in ("f4", "f8")]
    np.testing.assert_allclose(*rows, rtol=8 * np.finfo("f4").eps, atol=2e-7)


@pytest.mark.parametrize("dtype", [slow("float32"), "float64"])
def test_normal_pairs_are_those_of_box_and_muller_to_the_last_digits(dtype):
    random = np.random.default_rng(0).integers(0, 2**32, 400, dtype=np.uint32)
    edges = np.uint32(2**32 * np.append(np.arange(16) / 16, np.sqrt(0.5)))
    words = np.concatenate([random, *(edges + np.uint32(k) for k in range(3)), ~random[:4] >> 20])
    radii, angles = words, np.roll(words, 7)
    found = jax.jit(lambda words: normal_pair(words, jnp.dtype(dtype)))((radii, angles))
    with mp.workdps(30):
        lengths = [mp.sqrt(-2 * mp.log((int(r) + mp.mpf(0.5)) / 2**32)) for r in radii]
        turns = [2 * mp.pi * int(a) / mp.mpf(2**32) for a in angles]
        for values, of in zip(found, (mp.cos, mp.sin), strict=True):
            exact = [length * of(turn) for length, turn in zip(lengths, turns, strict=True)]
            errors = [abs(mp.mpf(float(x)) - y) for x, y in zip(values, exact, strict=True)]
            bound = 4 * np.finfo(dtype).eps * np.array(lengths, float)
            assert np.all(np.array(errors, float) <= bound)


def test_halves_of_a_step_add_up_to_it():
    source, size = numbers(range(5)), Source("W", ())
    whole, area = bridged(source, size, 3, 0)
    np.testing.assert_allclose(whole, increments(source, size, 0, 3), rtol=1e-14, atol=1e-15)
    for halvings in (1, 3):
        parts, areas = bridged(source, size, 3, halvings)
        parts = parts.reshape(3, 2**halvings, -1)
        areas = areas.reshape(3, 2**halvings, -1)
        np.testing.assert_allclose(parts.sum(1), whole, rtol=1e-12, atol=1e-14)
        # The integral of the path over the step, by those over its parts.
        length = 2.0**-halvings
        before = np.cumsum(parts, axis=1) - parts
        integral = (length * (before + parts / 2 + areas)).sum(1)
        np.testing.assert_allclose(integral, whole / 2 + area, rtol=1e-12, atol=1e-14)


def test_parts_of_a_step_are_independent_with_the_variances_of_their_length():
    paths, halvings = 40_000, 2
    w, h = bridged(numbers(range(paths)), Source("W", ()), 1, halvings)
    found = np.cov(np.concatenate([w, h]))
    expected = np.diag(np.repeat([1 / 4, 1 / 48], 4))
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs((found - expected) / scale).max() < 4.5 * np.sqrt(2 / paths)


@pytest.mark.slow
def test_a_path_runs_at_half_the_step():
    circuit = wiener() @ geometric()
    ends = []
    for halvings in (0, 5):
        calculus = ag.Stochastic(steps=4, halvings=halvings, method="milstein")
        run = ag.ensemble(circuit, [0.0, 1.0], calculus=calculus, key=KEY, paths=100, tile=100)
        ends.append([out[:, -1] for out in run.outputs])
    exact = np.exp((0.1 - 0.045) + 0.3 * ends[0][0])
    for w, _ in ends:
        np.testing.assert_allclose(w, ends[0][0], rtol=1e-10)
    errors = [np.mean(np.abs(x - exact)) for _, x in ends]
    assert errors[1] < errors[0] / 16


def test_correlated_sources_have_their_correlation():
    calculus = ag.Stochastic(steps=1, correlation={("W", "V"): -0.7, ("V", "U"): 0.2})
    circuit = wiener("W") @ wiener("V") @ wiener("U")
    run = ag.ensemble(circuit, [0.0, 1.0], calculus=calculus, key=KEY, paths=50_000)
    found = np.corrcoef([out[:, -1] for out in run.outputs])
    expected = np.array([[1, -0.7, 0], [-0.7, 1, 0.2], [0, 0.2, 1]])
    assert np.abs(found - expected).max() < 4.5 / np.sqrt(50_000)


def test_registers_that_name_one_noise_share_it():
    circuit = wiener() @ (ag.Const(2.0) >> ag.StochasticRegister("t", "W"))
    run = ag.simulate(circuit, [0.0, 1.0], calculus=ag.Stochastic(steps=9), key=KEY)
    np.testing.assert_allclose(run.outputs[1], 2 * run.outputs[0], rtol=1e-14)


def test_handed_increments_are_what_is_integrated():
    steps = np.random.default_rng(0).normal(size=6)
    calculus = ag.Stochastic(steps=3, noise={"W": steps})
    run = ag.simulate(wiener(), [0.0, 0.3, 1.0], calculus=calculus)
    np.testing.assert_allclose(run.output, [0, steps[:3].sum(), steps.sum()], rtol=1e-14)
    opposite = ag.simulate(
        wiener(), [0.0, 0.3, 1.0], calculus=ag.Stochastic(steps=3, noise={"W": -steps})
    )
    np.testing.assert_array_equal(opposite.output, -run.output)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tails_of_poissons_law_are_its_own_for_any_mean(dtype):
    means = np.array([0.0, 1e-3, 0.5, 0.999, 1.0, 2.0, 6.0, 15.0, 50.0, 1000.0], dtype)
    counts = (1, 2, 5, 13, 40, 200)
    tails = jax.jit(lambda mean: [poisson_tail(mean, least) for least in counts])
    for least, found in zip(counts, tails(means), strict=True):
        assert found.dtype == dtype
        exact = scipy.stats.poisson.sf(least - 1, means.astype(np.float64))
        # A term is the exponential of numbers as large as the mean and least ln(mean).
        digits = np.finfo(dtype).eps * (8 + means + least * np.abs(np.log(np.maximum(means, 1))))
        np.testing.assert_array_less(np.abs(found - exact), 2 * digits + 1e-300)
    wrong = np.resize(np.array([np.nan, -0.1, np.inf], dtype), means.shape)
    assert np.isnan(tails(wrong)).all()
