"""Inputs that switch in time: no pulse is missed, and derivatives follow the switches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow, with_values

import asgard as ag
from asgard.calculi.real.switches import Guards
from asgard.jaxprs.program import trace

RANDOM = np.random.default_rng(5)
METHODS = {
    "default": ag.Real(),
    "Tsit5": ag.Real(method=ag.Tsit5(), rtol=1e-10, atol=1e-12),
    "Dopri8": ag.Real(method=ag.Dopri8(), rtol=1e-10, atol=1e-12),
    "Radau": ag.Real(method=ag.Radau(), rtol=1e-10, atol=1e-12),
}
PULSE = ag.Register("t")
FOLLOWING = (ag.Function(lambda u, x: u - x, 2) >> ag.Register("t") >> ag.Split()).trace()


def switched(t, arguments):
    """One in a part of each period."""
    phase, part, period = arguments
    return jnp.where(jnp.mod(t / period + phase, 1.0) < part, 1.0, 0.0)


def area(phase, part, period, end):
    """The integral of `switched` from 0."""

    def until(t):
        return np.floor(t) * part + np.minimum(np.mod(t, 1.0), part)

    return period * (until(end / period + phase) - until(phase))


@pytest.mark.parametrize("name", ["default", slow("Tsit5"), slow("Dopri8"), slow("Radau")])
def test_no_pulse_is_missed_at_any_phase_part_and_period(name):
    count, end = 200, 30.0
    given = (
        RANDOM.uniform(size=count),
        RANDOM.uniform(0.01, 0.99, count),
        RANDOM.uniform(0.3, 7, count),
    )

    @jax.jit
    @jax.vmap
    def run(*arguments):
        found = ag.simulate(
            PULSE, [0.0, end], inputs=((switched, arguments),), calculus=METHODS[name], throw=False
        )
        return found.output[-1], found.status == ag.Status.ok

    found, ok = run(*given)
    assert np.all(ok)
    np.testing.assert_allclose(found, area(*given, end), rtol=1e-9)


@pytest.mark.slow
def test_a_thousand_periods_and_a_state_that_follows():
    run = ag.simulate(PULSE, [0.0, 1000.0], inputs=((switched, (0.0, 0.3, 1.0)),))
    np.testing.assert_allclose(run.output[-1], 300.0, rtol=1e-9)
    ts = np.linspace(0.0, 3.0, 31)
    run = ag.simulate(FOLLOWING, ts, inputs=((switched, (0.0, 0.3, 0.1)),))
    once = np.exp(-0.1)
    step = np.exp(-0.07) - once
    expected = step * (1 - once ** np.arange(31)) / (1 - once)
    np.testing.assert_allclose(run.output, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_a_run_backward_and_one_that_goes_on_end_steps_at_switches():
    inputs = ((switched, (0.25, 0.3, 1.0)),)
    back = ag.simulate(PULSE, [9.3, 0.1], inputs=inputs)
    there = ag.simulate(PULSE, [0.1, 4.75, 9.3], inputs=inputs)
    np.testing.assert_allclose(back.output[-1], -there.output[-1], rtol=1e-12)
    first = ag.simulate(PULSE, [0.1, 4.75], inputs=inputs)
    rest = ag.simulate(PULSE, [4.75, 9.3], inputs=inputs, state=first.state)
    np.testing.assert_allclose(rest.output[-1], there.output[-1], rtol=1e-12)
    dense = ag.simulate(PULSE, [0.1, 9.3], inputs=inputs, calculus=ag.Real(dense=True))
    np.testing.assert_allclose(dense.evaluate(4.75).output, there.output[1], rtol=1e-12)


def test_steps_end_before_a_switch_whichever_way_a_run_goes_and_whatever_holds_at_it():
    """No step sees what holds behind a switch, so none is refused."""

    def rate(t):
        return jnp.where(t > 1, 1.0, 2.0) * jnp.where(t <= 1.5, 1.0, 3.0) * jnp.where(t < 0, 5.0, 1)

    for ts, expected in (([-0.5, 2.0], 5 + 2 + 0.5 + 1.5), ([2.0, -0.5], -9.0)):
        calculus = ag.Real(method=ag.Tsit5(), rtol=1e-6)
        run = ag.simulate(ag.Register("t"), ts, inputs=(rate,), calculus=calculus)
        np.testing.assert_allclose(run.output[-1], expected, rtol=1e-12)
        assert run.stats["rejected"] == 0


@pytest.mark.parametrize("orders", ["first", slow("second")])
def test_derivatives_move_with_the_switches(orders):
    """∫ (1 + t) over the pulses: a pulse from a to b gives b - a + (b² - a²) / 2."""

    def total(arguments):
        def fn(t, arguments):
            return (1 + t) * switched(t, arguments)

        return ag.simulate(PULSE, [0.0, 3.9], inputs=((fn, arguments),)).output[-1]

    def exact(arguments):
        phase, part, period = arguments
        begins = (jnp.arange(1, 4) - phase) * period
        begins = jnp.concatenate([jnp.zeros(1), begins])
        ends = (jnp.arange(4) + part - phase) * period
        return jnp.sum(ends - begins + (ends**2 - begins**2) / 2)

    def derivatives(fn):
        first = jax.value_and_grad(fn)
        return first if orders == "first" else with_values(jax.jacfwd, first)

    given = jnp.array([0.1, 0.4, 1.1])

    @jax.jit
    def both(given):
        return [derivatives(fn)(given) for fn in (total, exact)]

    found, expected = both(given)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9), found, expected
    )


@pytest.mark.slow
def test_the_second_derivative_of_a_kink_is_seen():
    def total(place):
        inputs = ((lambda t, place: jnp.abs(t - place), place),)
        return ag.simulate(PULSE, [0.0, 1.0], inputs=inputs).output[-1]

    np.testing.assert_allclose(jax.jit(jax.jacfwd(jax.grad(total)))(0.3), 2.0, rtol=1e-9)


SWITCHES = {
    "a pulse": (lambda t: jnp.where((t > 3) & (t < 3.001), 1.0, 0.0), 1000.0, [3.0, 3.001]),
    "a narrow dip": (lambda t: jnp.where((t - 5) ** 2 < 1e-4, 1.0, 0.0), 10.0, [4.99, 5.01]),
    "a sine": (lambda t: jnp.sign(jnp.sin(2 * jnp.pi * 7.3 * t)), 30.0, np.arange(1, 438) / 14.6),
    "a floor": (lambda t: jnp.floor(2 * t) % 2, 19.8, np.arange(1, 40) / 2),
    "rounding": (jnp.round, 4.0, np.arange(4) + 0.5),
    "a kink": (lambda t: jnp.maximum(t - 0.3, 0.0), 1.0, [0.3]),
    "a clip": (lambda t: jnp.clip(t, 0.2, 0.7), 1.0, [0.2, 0.7]),
}


def test_switches_are_found_to_the_last_digits():
    scalar = jax.ShapeDtypeStruct((), jnp.result_type(float))

    @jax.jit
    def all_of():
        found = {}
        for name, (fn, end, _) in SWITCHES.items():
            guards = Guards.of(trace(lambda t, y, fn=fn: [fn(t) + 0 * y], scalar, scalar))
            found[name] = guards.between(jnp.zeros(()), jnp.asarray(end), [])
        return found

    for name, switches in all_of().items():
        _, end, expected = SWITCHES[name]
        assert switches.known >= end
        times = np.asarray(switches.times)
        np.testing.assert_allclose(times[np.isfinite(times)], expected, rtol=1e-13, err_msg=name)


def test_what_is_smooth_or_depends_on_the_state_has_no_guards():
    scalar = jax.ShapeDtypeStruct((), jnp.result_type(float))
    for fn in (lambda t, y: [jnp.sin(t) * y], lambda t, y: [jnp.abs(y - t)]):
        assert Guards.of(trace(fn, scalar, scalar)) is None


@pytest.mark.slow
def test_too_many_switches_are_a_status():
    run = ag.simulate(PULSE, [0.0, 3.0, 1e4], inputs=((switched, (0.0, 0.3, 1.0)),), throw=False)
    assert run.status == ag.Status.switches
    np.testing.assert_allclose(run.output, [0.0, 0.9, np.nan], rtol=1e-9)
    assert 2000 < run.stats["reached"] < 2100
