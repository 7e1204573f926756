"""Tolerances are by entry: small quantities beside large ones, and growth from small numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow
from systems import lotka_volterra, ode

import asgard as ag


def epidemic(y):
    """Susceptible, infected and recovered people of a million and one."""
    caught, cured = 0.5 * y[0] * y[1] / 1e6, 0.1 * y[1]
    return jnp.stack([-caught, caught - cured, cured])


def robertson(y):
    """Three reactions of which one is 10^9 times as fast as another."""
    slow, back, fast = 0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
    return jnp.stack([back - slow, slow - back - fast, fast])


def run(circuit, end, **options):
    return ag.simulate(circuit, [0.0, end], calculus=ag.Real(**options))


@pytest.mark.parametrize(
    ("field", "start", "end"),
    [(epidemic, [1e6, 1.0, 0.0], 40.0), (robertson, [1.0, 0.0, 0.0], 0.3)],
)
def test_each_entry_of_a_vector_meets_the_tolerance(field, start, end):
    """One entry of the epidemic came out as 1675 for 7988 when the largest one set the scale."""
    circuit = ode(field, jnp.array(start))
    exact = run(circuit, end).output[-1]
    for rtol in (1e-3, 1e-6):
        np.testing.assert_allclose(run(circuit, end, rtol=rtol).output[-1], exact, rtol=5 * rtol)


def test_growth_from_small_numbers_is_exact_by_default():
    """x' = x (1 - x), alone and beside larger entries."""
    starts = np.array([1e-60, 1e-3, 0.5])
    exact = 1 / (1 + np.exp(-140.0) * (1 / starts - 1))
    alone = run(ode(lambda x: x * (1 - x), 1e-60), 140.0).output[-1]
    together = run(ode(lambda x: x * (1 - x), jnp.array(starts)), 140.0).output[-1]
    np.testing.assert_allclose(alone, exact[0], rtol=1e-12)
    np.testing.assert_allclose(together, exact, rtol=1e-12)


def test_a_kink_in_a_small_quantity_is_seen_beside_a_large_one():
    """A register holds 300, another the integral of 1e-9 |sin 3t|."""
    still = ag.Const(0.0) >> ag.Register("t", 300.0)
    driven = (lambda t: 1e-9 * jnp.abs(jnp.sin(3 * t)),)
    found = ag.simulate(still @ ag.Register("t", 0.0), [0.0, 10.0], inputs=driven).outputs[1][-1]
    arches = np.floor(30 / np.pi)
    exact = 1e-9 * (2 * arches + 1 - np.cos(30 - arches * np.pi)) / 3
    np.testing.assert_allclose(found, exact, rtol=1e-13)


def test_rounding_that_cancels_between_entries_refuses_no_step():
    """Two large entries feed two small ones by their difference."""

    def field(y):
        flow = 1e3 * (y[0] - y[1])
        return jnp.stack([-flow - 0.1 * y[0], flow, 1e-9 * flow - y[2]])

    found = run(ode(field, jnp.array([1.0, 1.0, 0.0])), 1.0)
    assert found.stats["rejected"] == 0


@pytest.mark.parametrize("order", [4, 12])
def test_an_oscillator_takes_no_short_steps_where_it_passes_zero(order):
    circuit = ode(lambda y: jnp.stack([y[1], -y[0]]), jnp.array([1.0, 0.0]))
    calculus = ag.Real(order=order, rtol=1e-4, dense=True, max_steps=1023)
    dense = ag.simulate(circuit, [0.0, 20.0], calculus=calculus).dense
    sizes = np.asarray(dense.path.taken)[3 : int(dense.rows) - 1]
    assert np.max(sizes) < 2.5 * np.min(sizes)


@pytest.mark.parametrize("order", [4, 20])
def test_a_slope_that_rounding_alone_bends_is_no_measure_of_an_entry(order):
    """The terms of order 2, 3, 5, 9 and 17 are zero or rounding; runs to 3 were off sevenfold."""

    def rate(t):
        return 1 + jnp.cos(np.pi / 2) * t + 1e-17 * t**2 + t**3 * jnp.exp(-t * t)

    calculus = ag.Real(order=order, rtol=1e-6)
    found = ag.simulate(ag.Register("t", 0.0), [0.0, 3.0], inputs=(rate,), calculus=calculus)
    exact = 3 + (1 - 10 * np.exp(-9.0)) / 2
    np.testing.assert_allclose(found.output[-1], exact, rtol=1e-6)


def test_a_wave_fills_cells_that_are_zero_at_first():
    """A quantity spreads on a ring of 64 cells; its tails are of interest only without `atol`."""

    def spread(u):
        return 50 * (jnp.roll(u, 1) - 2 * u + jnp.roll(u, -1))

    circuit = ode(spread, jnp.zeros(64).at[32].set(1.0))
    modes = np.fft.fft(np.eye(64)[32]) * np.exp(100 * (np.cos(np.arange(64) * np.pi / 32) - 1))
    tails, body = run(circuit, 1.0), run(circuit, 1.0, atol=1e-9)
    for found, atol in ((tails, 1e-15), (body, 1e-9)):
        np.testing.assert_allclose(found.output[-1], np.fft.ifft(modes).real, atol=atol)
    assert body.stats["steps"] < tails.stats["steps"] <= 80


def test_tolerances_by_name_and_by_entry():
    circuit = lotka_volterra()

    def steps(**options):
        return run(circuit, 10.0, method=ag.Taylor(), **options).stats["steps"]

    loose, tight = (steps(rtol=rtol) for rtol in (1e-3, 1e-9))
    assert loose < tight

    # By the names of wires and of registers.
    assert steps(rtol={"prey": 1e-3, "predator": 1e-3}) == loose
    assert steps(rtol={"register[0]": 1e-3, "register[1]": 1e-3}) == loose
    assert loose < steps(rtol={"prey": 1e-3, "predator": 1e-9}) <= tight
    # What is not named keeps the default.
    assert steps(rtol={"prey": 1e-3}) > tight
    assert steps(rtol=1e-9, atol={"prey": 1.0, "predator": 1.0}) < tight

    # An array has one number for each entry of a register; it is traced, and has batches.
    pair = ode(lambda y: jnp.stack([y[0] * (1 - y[1]), y[1] * (y[0] - 1)]), jnp.array([0.5, 1.0]))
    batch = jax.jit(jax.vmap(lambda rtol: run(pair, 10.0, rtol=rtol).stats["steps"]))
    both, one, none = batch(jnp.array([[1e-9, 1e-9], [1e-9, 1e-3], [1e-3, 1e-3]]))
    assert none < one <= both


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rtol": {"pray": 1e-3}}, "rtol names 'pray'.* names are prey, register"),
        ({"atol": {"prey": [1.0, 2.0]}}, r"atol of shape \(2,\) does not fit register 'prey'"),
        ({"rtol": [1e-3, 1e-6]}, r"rtol of shape \(2,\) does not fit a .* by name"),
        ({"rtol": {"prey": 1.0, "register[0]": 1.0}}, r"has 'prey' and 'register\[0\]'"),
        ({"rtol": {"prey": -1.0}}, r"rtol\['prey'\] must be at least 0"),
        ({"rtol": 0.0, "atol": {"prey": 0.0}}, "rtol is 0, but a step in float64"),
        ({"atol": "small"}, "atol must be a number"),
        ({"max_step": -1.0}, "max_step must be positive, not -1"),
        ({"max_step": 0}, "max_step must be positive, not 0"),
    ],
)
def test_tolerances_that_fit_no_register_are_refused(options, message):
    with pytest.raises(ag.CircuitError, match=message):
        run(lotka_volterra(), 10.0, **options)
    with jax.disable_jit(), pytest.raises(ag.CircuitError, match=message):
        run(lotka_volterra(), 10.0, **options)


@pytest.mark.parametrize("method", [ag.Dopri8(), slow(ag.Radau())])
def test_traced_tolerances_below_zero_fail(method):
    """They would pass any error, as infinite ones do."""

    decay = ode(lambda y: -y, jnp.ones(()))

    @jax.jit
    @jax.vmap
    def last(atol):
        found = run(decay, 1.0, method=method, rtol=1e-6, atol=atol)
        return found.output[-1], found.status == ag.Status.ok

    values, good = last(jnp.array([1e-6, -1.0]))
    assert good.tolist() == [True, False]
    assert np.isfinite(values).tolist() == [True, False]
