"""Branches within a run: located on the step's polynomial, stepped to, and gone on from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import ode

import asgard as ag


def area_of_rectified_sine(t):
    """The integral of |sin 3s| from 0 to t."""
    arches = np.floor(3 * t / np.pi)
    return (2 * arches + 1 - np.cos(3 * t - arches * np.pi)) / 3


def test_kinks_of_an_input_are_met_in_one_refusal_each():
    ts = np.linspace(0, 10, 41)
    run = ag.simulate(ag.Register("t"), ts, inputs=(lambda t: jnp.abs(jnp.sin(3 * t)),))
    np.testing.assert_allclose(run.output, area_of_rectified_sine(ts), atol=2e-14)
    assert int(run.stats["rejected"]) <= 2 * 9
    assert int(run.stats["steps"]) <= 40


def test_jumps_of_an_input_are_stepped_over():
    def square(t):
        return jnp.where(jnp.sin(3 * t) > 0, 1.0, -0.5)

    run = ag.simulate(ag.Register("t"), [0.0, 10.0], inputs=(square,))
    up = np.sum(np.diff(np.append(np.pi / 3 * np.arange(10), 10.0))[::2])
    np.testing.assert_allclose(run.output[-1], up - 0.5 * (10 - up), rtol=1e-13)
    assert int(run.stats["rejected"]) <= 3 * 10


@pytest.mark.parametrize("backward", [False, True])
def test_a_force_that_jumps_with_the_state(backward):
    def field(u):
        return jnp.stack([u[1], -jnp.sign(u[0])])

    # x'' = -sign(x) from rest at 1: parabolas, with the period 4 sqrt(2).
    ts = np.linspace(0, 4 * np.sqrt(2), 5) * (-1 if backward else 1)
    run = ag.simulate(ode(field, jnp.array([1.0, 0.0])), ts)
    np.testing.assert_allclose(run.output[:, 0], [1, 0, -1, 0, 1], atol=1e-12)
    assert int(run.stats["rejected"]) <= 16


@pytest.mark.parametrize("threshold", [0.0, 1e-12, 1e-3, -1.0])
def test_a_jump_that_is_crossed_near_zero(threshold):
    def field(x):
        return jnp.where(x < threshold, 1.1 - 0.3 * x, 2 + x)

    run = ag.simulate(ode(field, threshold - 0.35), [0.0, 1.5])
    level = 1.1 / 0.3
    crossing = np.log((threshold - 0.35 - level) / (threshold - level)) / 0.3
    expected = (2 + threshold) * np.exp(1.5 - crossing) - 2
    np.testing.assert_allclose(run.output[-1], expected, rtol=1e-12)


def test_sliding_along_a_jump_ends_with_a_status():
    circuit = ode(lambda x: -jnp.sign(x), jnp.array(1.0))
    run = ag.simulate(circuit, [0.0, 0.5, 2.0], calculus=ag.Real(max_steps=500), throw=False)
    assert run.status == ag.Status.zeno
    np.testing.assert_allclose(run.output, [1.0, 0.5, np.nan])
    np.testing.assert_allclose(run.stats["reached"], 1.0, rtol=1e-9)


def test_after_a_breakpoint_steps_are_as_long_as_before():
    stops = np.linspace(0.5, 9.5, 10)
    free = ag.simulate(ode(jnp.negative, 1.0), [0.0, 10.0])
    run = ag.simulate(ode(jnp.negative, 1.0), [0.0, 10.0], calculus=ag.Real(breakpoints=stops))
    assert int(run.stats["steps"]) <= int(free.stats["steps"]) + 2 * len(stops)


def test_time_is_summed_without_loss_in_float32():
    start = jnp.zeros((), jnp.float32)
    circuit = ag.Const(jnp.ones((), jnp.float32)) >> ag.Register("t", start)
    run = ag.simulate(
        circuit, jnp.array([0, 1000], jnp.float32), calculus=ag.Real(max_step=0.1, rtol=1e-6)
    )
    assert run.output.dtype == jnp.float32
    assert int(run.stats["steps"]) >= 9999
    np.testing.assert_allclose(run.output[-1], 1000, rtol=2.0**-22)


def test_inputs_that_switch_are_seen_at_any_phase():
    """An input that is 1 for 0.3 of each period, of 64 phases; it gave 0.6 for 3.0."""

    @jax.jit
    @jax.vmap
    def end(phase):
        inputs = ((switched, phase),)
        found = ag.simulate(ag.Register("t"), [0.0, 10.0], inputs=inputs, throw=False)
        return found.output[-1], found.status == ag.Status.ok

    found, ok = end(jnp.linspace(0, 1, 64, endpoint=False))
    np.testing.assert_allclose(found, 3.0, rtol=1e-12)
    assert ok.all()


def switched(t, phase):
    return jnp.where(jnp.mod(t + phase, 1.0) < 0.3, 1.0, 0.0)
