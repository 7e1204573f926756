"""Dense runs: a solution that is evaluated anywhere later."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_both_modes, slow
from systems import decay, oscillator

import asgard as ag

DENSE = ag.Real(dense=True, max_steps=127)


@pytest.mark.parametrize("ts", [slow([0.0, 10.0]), np.linspace(10.0, 0.0, 40)])
def test_any_time_of_a_run_forward_or_backward(ts):
    run = ag.simulate(oscillator(), ts, calculus=DENSE)
    times = np.linspace(0, 10, 23).reshape(23, 1)
    x, v = run.evaluate(times).outputs
    assert x.shape == times.shape
    np.testing.assert_allclose(x, np.cos(times - ts[0]), atol=1e-14)
    np.testing.assert_allclose(v, -np.sin(times - ts[0]), atol=1e-14)


def test_saved_times_are_what_the_run_saved():
    run = ag.simulate(oscillator(), np.linspace(0, 5, 40), calculus=DENSE)
    for found, saved in zip(run.evaluate(run.ts).outputs, run.outputs, strict=True):
        np.testing.assert_allclose(found, saved, atol=1e-15)


def test_outside_of_the_run_there_is_nothing():
    run = ag.simulate(decay(), [0.0, 1.0], calculus=DENSE)
    assert np.isnan(run.evaluate(-0.1).output)
    assert np.isnan(run.evaluate(1.1).output)
    assert run.evaluate(1.0).output.shape == ()


def test_a_failed_run_is_known_up_to_its_failure():
    blow_up = (ag.Power(2) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    run = ag.simulate(blow_up, [0.0, 2.0], calculus=ag.Real(dense=True), throw=False)
    np.testing.assert_allclose(run.evaluate([0.5, 0.9]).output, [2.0, 10.0], rtol=1e-13)
    assert np.isnan(run.evaluate(1.5).output)


def test_a_run_that_goes_on_from_a_state():
    half = ag.simulate(oscillator(), [0.0, 5.0])
    run = ag.simulate(oscillator(), [5.0, 10.0], calculus=DENSE, state=half.state)
    x, _ = run.evaluate([5.0, 6.3, 10.0]).outputs
    np.testing.assert_allclose(x, np.cos([5.0, 6.3, 10.0]), atol=1e-14)


def at(rate, time):
    run = ag.simulate(decay(rate), [0.0, 2.0], calculus=DENSE, throw=False)
    return run.evaluate(time).output


def test_derivatives_to_parameters_and_to_the_time():
    value = np.exp(-0.7 * 1.1)
    slopes = jax.jit(jax.grad(at, argnums=(0, 1)))(0.7, 1.1)
    np.testing.assert_allclose(slopes, [-1.1 * value, -0.7 * value], rtol=1e-12)


@pytest.mark.slow
def test_batches_over_parameters():
    rates = jnp.array([0.1, 0.7, 1.5])
    found = jax.jit(jax.vmap(at, in_axes=(0, None)))(rates, jnp.array([0.3, 1.9]))
    np.testing.assert_allclose(found, np.exp(-rates[:, None] * np.array([0.3, 1.9])), rtol=1e-13)


def test_a_circuit_without_registers():
    run = ag.simulate(ag.Sin(), [0.0, 1.0], inputs=(lambda t: 2 * t,), calculus=DENSE)
    np.testing.assert_allclose(run.evaluate([0.2, 0.9]).output, np.sin([0.4, 1.8]), rtol=1e-15)


def test_wires_are_read_by_name():
    circuit = ag.equations("diff(x, t) = -x; twice = 2*x", initial={"x": 1.0}, outputs=("x",))
    found = ag.simulate(circuit, [0.0, 1.0], calculus=DENSE).evaluate([[0.1], [0.7]])
    assert found["x"].shape == (2, 1)
    np.testing.assert_allclose(found["twice"], 2 * np.exp([[-0.1], [-0.7]]), rtol=1e-13)
    with pytest.raises(KeyError, match="wires named once: twice, x"):
        found["y"]


@ag.circuit
def lagging(*, lag=1.0):
    """x' = -x(t - lag), with the history 1/2, and 1 from the start on."""
    x, late = ag.register("t", 1.0), ag.delay("t", 0.5, by=lag)
    late.input = x
    x.input = -late
    return {"x": x, "late": late}


def lagged(t, lag):
    """x for a time up to 3 lag."""
    one, two = jnp.maximum(t - lag, 0), jnp.maximum(t - 2 * lag, 0)
    pieces = 1 - jnp.minimum(t, lag) / 2 - one + one**2 / 4 + two**2 / 4 - two**3 / 12
    return jnp.where(t < 0, 0.5, pieces)


@pytest.mark.slow
def test_runs_with_delays_are_known_at_any_time_on_both_sides_of_jumps():
    dense = ag.Real(dense=True, max_steps=31)
    first = ag.simulate(lagging(), [0.0, 0.4], calculus=ag.Real(max_history=300))
    run = ag.simulate(lagging(), [0.4, 2.9], calculus=dense, state=first.state)
    times, jump = np.array([1.4, 2.9, 1.77, 2.0, 2.33]), np.array([1.0, 1.0 + 1e-15])
    found = run.evaluate(np.append(times, jump))
    np.testing.assert_allclose(found["x"][:5], lagged(times, 1.0), atol=1e-14)
    np.testing.assert_allclose(found["late"][:5], lagged(times - 1, 1.0), atol=1e-14)
    np.testing.assert_allclose(found["late"][5:], 1.0, atol=1e-13)
    np.testing.assert_allclose(run.evaluate(jump, side="left")["late"], 0.5, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("method", [ag.Taylor(), ag.Tsit5()], ids=["taylor", "tsit5"])
def test_derivatives_of_dense_runs_with_delays_to_the_delay_and_to_the_time(method):
    calculus = ag.Real(dense=True, max_steps=63, method=method, rtol=1e-9)

    def late(lag, time):
        run = ag.simulate(lagging(lag=lag), [0.0, 2.9], calculus=calculus)
        return run.evaluate(time)["x"]

    _, *slopes = jax.jit(functools.partial(in_both_modes, late))(1.0, 2.4)
    expected = jax.jit(jax.grad(lagged, (1, 0)))(2.4, 1.0)
    for (found,) in slopes:
        np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_a_run_that_is_not_dense_says_so():
    with pytest.raises(ag.CircuitError, match=r"Real\(dense=True\)"):
        ag.simulate(decay(), [0.0, 1.0]).evaluate(0.5)
