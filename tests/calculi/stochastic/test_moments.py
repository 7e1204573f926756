"""Diffusions whose laws are known: moments at 10^6 paths, and distributions.

A mean is compared within 4 standard errors, plus the bias of the method, which is stated: that of
Euler's method is known exactly where drift and variance are linear in the state.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from diffusions import (
    geometric,
    heston,
    heston_characteristic,
    merton,
    ornstein_uhlenbeck,
    square_root,
)
from helpers import slow

import asgard as ag
from asgard.runs import statistics

KEY = jax.random.key(2026)
PATHS = 10**6
END = 1.0


def moments(circuit, steps, of=lambda x: x[-1], **options):
    """Mean and variance of something at the end, and their standard errors."""
    powers = statistics.Mean(of=lambda *x: of(*x) ** jnp.arange(1, 5))
    calculus = ag.Stochastic(steps=steps, **options)
    run = ag.ensemble(
        circuit, [0.0, END], calculus=calculus, key=KEY, paths=PATHS, tile=2**15, reduce=powers
    )
    first, second, third, fourth = (float(m) for m in run.statistics)
    variance = second - first**2
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    errors = np.sqrt(variance / PATHS), np.sqrt((central - variance**2) / PATHS)
    return (first, variance), errors


def check(found, errors, exact, biased):
    """Within 4 standard errors and the bias of what is exact, and no bias beside the stated one."""
    for value, error, true, expected in zip(found, errors, exact, biased, strict=True):
        assert abs(value - true) < 4 * error + abs(expected - true)
        assert abs(value - expected) < 4 * error


@pytest.mark.slow
def test_geometric_brownian_motion():
    mu, sigma, steps = 0.1, 0.3, 10
    found, errors = moments(geometric(mu, sigma), steps)
    mean, square = np.exp(mu * END), np.exp((2 * mu + sigma**2) * END)
    h = END / steps
    euler = (1 + mu * h) ** steps, ((1 + mu * h) ** 2 + sigma**2 * h) ** steps
    check(found, errors, (mean, square - mean**2), (euler[0], euler[1] - euler[0] ** 2))


def test_ornstein_uhlenbeck():
    theta, mean, sigma, steps = 1.5, 0.4, 0.5, 10
    found, errors = moments(ornstein_uhlenbeck(theta, mean, sigma, 1.0), steps)
    decay, h = np.exp(-theta * END), END / steps
    exact = mean + (1 - mean) * decay, sigma**2 * (1 - decay**2) / (2 * theta)
    shrink = (1 - theta * h) ** steps
    spread = sigma**2 * h * (1 - shrink**2) / (1 - (1 - theta * h) ** 2)
    check(found, errors, exact, (mean + (1 - mean) * shrink, spread))


def square_root_moments(kappa, theta, sigma, initial):
    """Mean and variance of the square-root diffusion (Cox, Ingersoll and Ross, 1985, eq. 19)."""
    decay = np.exp(-kappa * END)
    mean = theta + (initial - theta) * decay
    early = initial * sigma**2 / kappa * (decay - decay**2)
    return mean, early + theta * sigma**2 / (2 * kappa) * (1 - decay) ** 2


@pytest.mark.slow
def test_a_square_root_diffusion_well_inside_the_feller_condition():
    kappa, theta, sigma, initial, steps = 2.0, 0.5, 0.6, 0.3, 20
    assert 2 * kappa * theta > 5 * sigma**2
    found, errors = moments(square_root(kappa, theta, sigma, initial), steps)
    # Euler's moments where nothing is truncated, which hardly ever happens here.
    h, mean, variance = END / steps, initial, 0.0
    for _ in range(steps):
        variance = (1 - kappa * h) ** 2 * variance + sigma**2 * mean * h
        mean += kappa * (theta - mean) * h
    check(found, errors, square_root_moments(kappa, theta, sigma, initial), (mean, variance))


@pytest.mark.slow
def test_a_square_root_diffusion_at_the_boundary_of_the_feller_condition():
    kappa, theta, sigma, initial = 1.0, 0.18, 0.6, 0.1
    assert np.isclose(2 * kappa * theta, sigma**2)
    exact = square_root_moments(kappa, theta, sigma, initial)
    truncated = square_root(kappa, theta, sigma, initial) >> ag.Function(
        lambda v: jnp.maximum(v, 0), 1
    )
    # Full truncation moves the moments of v+ up: its bias is of first order in the step, so that
    # four times the steps take it to a quarter. Their difference says how large it is.
    coarse, fine = (moments(truncated, steps) for steps in (8, 32))
    for place in range(2):
        errors = [found[1][place] for found in (coarse, fine)]
        bias = (coarse[0][place] - fine[0][place]) / 3
        known = 4 * np.hypot(*errors) / 3
        assert bias > known
        for (found, _), factor in ((coarse, 4), (fine, 1)):
            miss = found[place] - exact[place]
            assert abs(miss - factor * bias) < 4 * errors[factor == 1] + factor * (
                known + 0.5 * bias
            )
    # At 8 steps the mean is 1.7 % too high.
    assert abs(coarse[0][0] / exact[0] - 1.017) < 0.003


@pytest.mark.slow
def test_heston_has_its_characteristic_function():
    parameters = {"kappa": 2.0, "theta": 0.09, "sigma": 0.4, "initial": 0.06}
    rate, correlation, us = 0.05, -0.6, np.array([0.5, 1.0, 3.0])

    def waves(x):
        return jnp.concatenate([jnp.cos(us * x[-1]), jnp.sin(us * x[-1])])

    def means(halvings, paths):
        calculus = ag.Stochastic(steps=20, halvings=halvings, correlation={("S", "V"): correlation})
        run = ag.ensemble(
            heston(rate, **parameters),
            [0.0, END],
            calculus=calculus,
            key=KEY,
            paths=paths,
            tile=2**14,
            reduce=statistics.Mean(of=waves),
        )
        return np.asarray(run.statistics)

    exact = heston_characteristic(us, END, rate, correlation=correlation, **parameters)
    exact = np.concatenate([exact.real, exact.imag])
    # Halves run on the same paths, so that a few show half of the bias of order 1.
    few = 2**16
    bias = 2 * np.abs(means(0, few) - means(1, few))
    assert np.all(bias < 0.01)
    # The variances of cos(u X) and sin(u X), from the characteristic function at 2 u.
    double = heston_characteristic(2 * us, END, rate, correlation=correlation, **parameters).real
    variances = np.concatenate([1 + double, 1 - double]) / 2 - exact**2
    # On coupled paths the bias itself is known to the share that its noise has: a fifth.
    assert np.all(np.abs(means(0, PATHS) - exact) < 4 * np.sqrt(variances / PATHS) + 1.2 * bias)


@pytest.mark.slow
def test_merton_jump_diffusion():
    mu, sigma, rate, mean, deviation, steps = 0.05, 0.2, 0.8, -0.1, 0.15, 20
    found, errors = moments(merton(mu, sigma, rate, mean, deviation), steps)
    jump = np.exp(mean + deviation**2 / 2) - 1
    square = np.exp(2 * mean + 2 * deviation**2) - 2 * np.exp(mean + deviation**2 / 2) + 1
    first = np.exp((mu + rate * jump) * END)
    second = np.exp((2 * mu + sigma**2 + rate * (2 * jump + square)) * END)
    # A step's factor is 1 + mu h + sigma dW + the sum of its jumps.
    h = END / steps
    step = 1 + (mu + rate * jump) * h
    variance = (sigma**2 + rate * square) * h
    euler = step**steps, (step**2 + variance) ** steps
    check(found, errors, (first, second - first**2), (euler[0], euler[1] - euler[0] ** 2))


@pytest.mark.slow
def test_jumps_at_a_rate_that_depends_on_the_state():
    # A pure birth process from 1: E N = exp(rate t), in steps (1 + rate h)^n.
    birth = ag.JumpRegister("t", None, 1.0, "J", 1.0, most=8)
    rate, steps = 0.7, 40
    body = ag.Split() >> ((ag.Discard() >> ag.Const(1.0)) @ ag.Scalar(rate)) >> birth >> ag.Split()
    (mean, variance), (error, _) = moments(body.trace(), steps)
    expected = (1 + rate * END / steps) ** steps
    assert abs(mean - expected) < 4 * error
    assert abs(mean - np.exp(rate * END)) < 4 * error + abs(expected - np.exp(rate * END))
    geometric_variance = np.exp(rate * END) * (np.exp(rate * END) - 1)
    assert abs(variance - geometric_variance) < 0.05 * geometric_variance


def test_a_path_that_jumps_more_often_than_a_step_holds_ends():
    circuit = ag.Const(1.0) >> ag.JumpRegister("t", 3.0, 1.0, "J", most=1)
    run = ag.ensemble(
        circuit, [0.0, 1.0], calculus=ag.Stochastic(steps=1), key=KEY, paths=20_000, throw=False
    )
    expected = 1 - np.exp(-3) * (1 + 3)
    assert abs(int(run.failed) / 20_000 - expected) < 4 * np.sqrt(expected / 20_000)


@pytest.mark.parametrize("dtype", [slow("float32"), "float64"])
def test_geometric_brownian_motion_has_the_log_normal_law(dtype):
    circuit = jax.tree.map(lambda leaf: leaf.astype(dtype), geometric(0.1, 0.3))
    calculus = ag.Stochastic(steps=64, method="milstein")
    ts = jnp.asarray([0.0, 1.0], dtype)
    x = ag.ensemble(circuit, ts, calculus=calculus, key=KEY, paths=10**5).output[:, -1]
    law = scipy.stats.norm(0.1 - 0.045, 0.3)
    assert scipy.stats.kstest(np.log(np.asarray(x, np.float64)), law.cdf).pvalue > 1e-3


def test_an_ornstein_uhlenbeck_process_has_the_normal_law():
    calculus = ag.Stochastic(steps=64, method="additive")
    circuit = ornstein_uhlenbeck(1.5, 0.4, 0.5, 1.0)
    x = ag.ensemble(circuit, [0.0, 1.0], calculus=calculus, key=KEY, paths=10**5).output[:, -1]
    law = scipy.stats.norm(0.4 + 0.6 * np.exp(-1.5), 0.5 * np.sqrt((1 - np.exp(-3)) / 3))
    assert scipy.stats.kstest(np.asarray(x), law.cdf).pvalue > 1e-3
