"""Guards drawn at random, against their values at many times."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

END = 20.0
METHODS = {
    "default": {},
    "Dopri8": {"method": ag.Dopri8(), "rtol": 1e-9, "atol": 1e-9},
    "Radau": {"method": ag.Radau(), "rtol": 1e-8, "atol": 1e-8},
}
ERRORS = {"default": 1e-10, "Dopri8": 1e-6, "Radau": 1e-5}
# How large the numbers of a guard are on average, and how often one of them is zero.
SIZES, NONE = np.array([1, 3, 1, 0.5, 3, 1, 4, 1, 0.5]), 0.35


def guard(t, y, p):
    wave = p[0] * jnp.sin(p[1] * y + p[2]) + p[3] * jnp.cos(p[4] * t)
    return wave + p[5] * jnp.tanh(p[6] * (y - p[7])) + p[8]


def moved(t, q):
    """A ramp, whose steps are as long as they may, or one with a wave."""
    return 0.3 + q[0] * t + q[1] * jnp.sin(2 * t)


def rates(t, state, *, p, q):
    above = jnp.where(guard(t, state["y"], p) > 0, 1.0, -1.0)
    return {"y": q[0] + 2 * q[1] * jnp.cos(2 * t), "above": above}


@functools.cache
def compiled(method):
    """What the watched guard and the branch give, of their numbers."""
    options = ag.Real(max_events=500, **METHODS[method])

    @ag.circuit
    def watched(*, p, q):
        t, y = ag.Coordinate("t")(), ag.register("t", 0.3)
        y.input = q[0] + 2 * q[1] * jnp.cos(2 * t)
        return {"guard": guard(t, y, p)}

    def run(p, q):
        events = ag.Event("guard")
        found = ag.simulate(watched(p=p, q=q), [0.0, END], calculus=options, events=events)
        branched = ag.simulate(
            ag.ode(rates, {"y": 0.3, "above": 0.0}, p=p, q=q), [0.0, END], calculus=options
        )
        return found.events["guard"], branched["above"][-1], found.status, branched.status

    return jax.jit(run)


def drawn(seed):
    rng = np.random.default_rng(seed)
    p = rng.normal(size=9) * SIZES * (rng.random(9) > NONE)
    return p, np.array([rng.normal(), rng.normal() * (seed % 3 > 0)])


def crossings(p, q):
    """The first sign of a guard, and the times at which it changes."""
    ts = np.linspace(0.0, END, 200_001)

    def is_above(t):
        return np.asarray(guard(t, moved(t, q), p)) > 0

    above = is_above(ts)
    (left,) = np.nonzero(above[1:] != above[:-1])
    low, high = ts[left], ts[left + 1]
    for _ in range(40):
        middle = low + (high - low) / 2
        before = is_above(middle) == above[left]
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return (1.0 if above[0] else -1.0), low


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_events_and_branches_are_where_a_guard_changes_its_sign(method):
    run = compiled(method)
    for seed in range(100):
        p, q = drawn(seed)
        sign, times = crossings(p, q)
        events, above, *statuses = run(p, q)
        assert all(status == ag.Status.ok for status in statuses), seed
        assert events.count == len(times), seed
        np.testing.assert_allclose(events.times[: len(times)], times, atol=ERRORS[method])
        signs = sign * (-1.0) ** np.arange(len(times) + 1)
        lengths = np.diff(np.concatenate([[0.0], times, [END]]))
        np.testing.assert_allclose(above, np.sum(signs * lengths), atol=ERRORS[method])
