"""Taylor steps whose orders are written out in kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_both_modes
from systems import ode

import asgard as ag
from asgard.calculi.real import integral

TS = jnp.linspace(0.0, 2.0, 4)
ORDER = 8
START, RATE = jnp.array([0.3, 0.9]), jnp.asarray(0.1)


def states(start, rate=0.1, ts=TS, **options):
    """A pendulum with a term that rolls its state: entries read one another's coefficients."""
    circuit = ode(lambda y: jnp.roll(y, 1) * jnp.array([1.0, -1.0]) - rate * y * jnp.sin(y), start)
    calculus = ag.Real(method=ag.Taylor(ORDER, **options), rtol=1e-10, atol=1e-10, max_steps=255)
    run = ag.simulate(circuit, ts, calculus=calculus)
    return run.output, run.stats


@pytest.fixture(scope="module")
def plain():
    """The states, their derivatives, and the statistics of the run by a loop over the orders."""
    return jax.jit(lambda *given: in_both_modes(states, *given, has_aux=True))(START, RATE)


def test_values_steps_and_derivatives_are_those_of_the_loop(plain):
    unrolled = functools.partial(states, unroll=True)
    found = jax.jit(lambda *given: in_both_modes(unrolled, *given, has_aux=True))(START, RATE)
    for values, expected in zip(found[:3], plain[:3], strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-14)
    stats = found[3]
    assert stats["kernel"]
    assert stats["steps"] == plain[3]["steps"]


def loops(**options):
    """How many loops a program has."""
    lowered = jax.jit(lambda y: states(y, **options)[0]).lower(START)
    return lowered.as_text().count("stablehlo.while")


def test_the_loop_over_the_orders_is_gone():
    # That over the orders, and those over the terms of products.
    assert loops(unroll=True) <= loops() - 2


def test_a_program_that_is_too_long_for_a_kernel_is_the_loop(plain, monkeypatch):
    monkeypatch.setattr(integral, "LONGEST_UNROLLED", 100)
    found, stats = jax.jit(lambda y: states(y, unroll=True))(START)
    np.testing.assert_allclose(found.ravel(), plain[0], rtol=1e-14)
    assert stats["kernel"]
    assert loops(unroll=True) == loops()


@pytest.mark.slow
def test_lanes_are_single_runs():
    starts = jnp.stack([START, 2 * START, -START])
    found, stats = jax.jit(jax.vmap(lambda y: states(y, unroll=True)))(starts)
    assert np.all(stats["kernel"])
    one = jax.jit(lambda y: states(y, unroll=True))
    for lane, start in zip(found, starts, strict=True):
        np.testing.assert_allclose(lane, one(start)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_events_and_delays():
    """A state that follows what it was, and passes zero."""

    @ag.circuit
    def lagging():
        x = ag.register("t", 1.0)
        x.input = -ag.Delay("t", 1.0, by=0.5)(x)
        return {"x": x}

    def run(unroll):
        calculus = ag.Real(method=ag.Taylor(12, unroll=unroll), rtol=1e-10)
        found = ag.simulate(lagging(), TS, calculus=calculus, events=ag.Event("x"))
        return found.output, found.events["x"].times

    for found, expected in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
