"""Adaptive Taylor steps: how exact they are, and that they step over nothing."""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from helpers import slow
from systems import FAST, LORENZ_AT_20, cast, decay, lorenz, lorenz_of_wires, ode, oscillator

import asgard as ag


def drive(f, ts, initial=0.0, **options):
    """x' = f(t), or x' = f(t, number) of a pair (f, number): one compilation for all numbers."""
    circuit = ag.Register("t", initial)
    return ag.simulate(circuit, ts, inputs=(f,), calculus=ag.Real(**options), throw=False)


def ramp(t, start):
    return jnp.maximum(t - start, 0)


def pulse(t, shape):
    center, width = shape
    return jnp.exp(-(((t - center) / width) ** 2))


def jumps_after(t, place):
    return jnp.where(t <= place, 0.0, 1.0)


def jumps_at(t, place):
    return jnp.where(t < place, 0.0, 1.0)


def test_lorenz_on_a_vector_wire_is_right_at_20():
    trajectory = ag.simulate(lorenz(), [0.0, 20.0])
    np.testing.assert_allclose(trajectory.output[-1], LORENZ_AT_20, rtol=0, atol=1e-9)


def test_lorenz_on_scalar_wires_is_right_at_20():
    outputs = ag.simulate(lorenz_of_wires(), [0.0, 20.0]).outputs
    np.testing.assert_allclose([x[-1] for x in outputs], LORENZ_AT_20, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def periods():
    """The oscillator over 1,000 periods."""
    return ag.simulate(oscillator(), 2 * np.pi * np.linspace(0, 1000, 101))


def test_the_oscillator_keeps_its_energy_over_1000_periods(periods):
    x, v = periods.outputs
    np.testing.assert_allclose(x**2 + v**2, 1.0, rtol=1e-12)


def test_the_oscillator_keeps_its_phase_over_1000_periods(periods):
    np.testing.assert_allclose(periods.outputs[0], np.cos(periods.ts), rtol=0, atol=1e-11)


@pytest.mark.parametrize("count", [slow(2), slow(17), slow(33), 1001])
def test_saved_times_in_any_density_take_the_same_steps(count):
    coarse = ag.simulate(lorenz(), [0.0, 1.0, 2.0])
    fine = ag.simulate(lorenz(), np.unique([*np.linspace(0, 2, count), 1.0]))
    for name in ("steps", "rejected", "smallest_step"):
        assert fine.stats[name] == coarse.stats[name]
    shared = fine.output[np.searchsorted(fine.ts, coarse.ts)]
    np.testing.assert_allclose(shared, coarse.output, rtol=4e-15)


@functools.cache
def _driven(f):
    def run(place, initial, end):
        trajectory = ag.simulate(
            ag.Register("t", initial), jnp.stack([0.0, end]), inputs=((f, place),), throw=False
        )
        return trajectory.output[-1] - initial, trajectory.status == ag.Status.ok

    return jax.jit(jax.vmap(run))


@pytest.mark.parametrize("initial", [0.0, 1.0])
@pytest.mark.parametrize("end", [2.0, 3.0, 10.0])
def test_a_kink_in_time_is_not_stepped_over(initial, end):
    starts = np.array([1.0, 1.1, 0.7310585, 0.5, math.pi / 3, 1e-3, 1.999])
    ends = np.full_like(starts, end)
    found, ok = _driven(ramp)(starts, np.full_like(starts, initial), ends)
    assert ok.all()
    np.testing.assert_allclose(found, (end - starts) ** 2 / 2, rtol=0, atol=1e-9)


def test_a_kink_in_the_state_is_not_stepped_over():
    loop = ag.Abs() >> ag.Scalar(-0.5) @ ag.Const(-1.0) >> ag.Add() >> ag.Register("t", 1.0)
    trajectory = ag.simulate((loop >> ag.Split()).trace(), [0.0, 0.5, 1.0, 2.0, 3.0])
    t, crossing = np.asarray(trajectory.ts), 2 * math.log(1.5)
    before, after = 3 * np.exp(-t / 2) - 2, 2 - 2 * np.exp((t - crossing) / 2)
    expected = np.where(t < crossing, before, after)
    np.testing.assert_allclose(trajectory.output, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("initial", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize("width", [0.3, 0.2])
def test_a_narrow_pulse_is_not_stepped_over(width, initial):
    centers = np.array([5.0, 7.3, 11.0, 16.4, 23.9, 29.1])
    shapes = (centers, np.full_like(centers, width))
    ends = centers + np.array([5.0, 3.3, 4.1, 19.2, 6.0, 11.0])
    found, ok = _driven(pulse)(shapes, np.full_like(centers, initial), ends)
    assert ok.all()
    np.testing.assert_allclose(found, width * math.sqrt(math.pi), rtol=0, atol=1e-9)


def test_a_pulse_that_underflows_at_the_start_is_not_stepped_over():
    assert float(pulse(0.0, (5.0, 0.1))) == 0.0
    # As many as the pulses above, so that all are one compilation.
    shapes = np.full(6, 5.0), np.full(6, 0.1)
    found, ok = _driven(pulse)(shapes, np.zeros(6), np.full(6, 10.0))
    assert ok.all()
    np.testing.assert_allclose(found, 0.1 * math.sqrt(math.pi), rtol=0, atol=1e-9)


def test_max_step_finds_a_pulse_of_any_width():
    width = 0.004
    trajectory = drive(lambda t: pulse(t, (5.0, width)), [0.0, 10.0], max_step=width)
    expected = width * math.sqrt(math.pi)
    np.testing.assert_allclose(trajectory.output[-1], expected, rtol=0, atol=1e-9)
    assert trajectory.stats["steps"] >= 10 / width


@pytest.mark.parametrize("f", [slow(jumps_after), jumps_at])
def test_a_step_input_by_a_breakpoint_is_right_and_costs_no_rejection(f):
    for end in (2.0, 3.5, 10.0):
        trajectory = drive((f, 1.0), [0.0, end], breakpoints=[1.0])
        np.testing.assert_allclose(trajectory.output[-1], end - 1, rtol=0, atol=1e-9)
        assert trajectory.stats["rejected"] == 0


@pytest.mark.parametrize("initial", [0.0, 1.0])
@pytest.mark.parametrize("f", [jumps_after, jumps_at])
def test_a_step_input_without_a_breakpoint_is_right_or_says_why_not(f, initial):
    # At places where a step ends by itself, and at odd ones.
    places = np.array([1.0, 0.5, 2.0, 3.0, 1.1, 0.3, 0.7310585, math.pi, 0.1, 7.0])
    found, ok = _driven(f)(places, np.full_like(places, initial), places + 2.25)
    assert np.all(np.isnan(found) | ok)
    np.testing.assert_allclose(found[ok], 2.25, rtol=0, atol=1e-9)


@pytest.mark.parametrize("below", [lambda x: x <= 1, lambda x: x < 1])
def test_a_jump_in_the_state_is_right_or_says_why_not(below):
    circuit = ode(lambda x: jnp.where(below(x), 1.0, 2.0), 0.0)
    trajectory = ag.simulate(circuit, [0.0, 1.0, 2.0], throw=False)
    assert trajectory.status != ag.Status.ok or abs(trajectory.output[-1] - 3) < 1e-9


def test_a_run_that_gets_nowhere_says_so():
    relay = ode(lambda x: -jnp.sign(x), 0.3)
    calculus = ag.Real(max_steps=99)
    trajectory = ag.simulate(relay, [0.0, 0.2, 1.0], calculus=calculus, throw=False)
    assert trajectory.status == ag.Status.zeno
    np.testing.assert_allclose(trajectory.output, [0.3, 0.1, np.nan], rtol=1e-12)


def test_steps_end_at_each_of_several_breakpoints():
    def stairs(t):
        return jumps_at(t, 0.5) + jumps_after(t, 1.5) + jumps_at(t, 2.5)

    trajectory = drive(stairs, [0.0, 3.0], breakpoints=[0.5, 1.5, 2.5])
    np.testing.assert_allclose(trajectory.output[-1], 1 + 2 + 1.5, rtol=0, atol=1e-12)
    assert trajectory.stats["rejected"] == 0


def test_breakpoints_hold_backward_in_time():
    trajectory = drive((jumps_at, 1.0), [3.0, 0.0], breakpoints=[1.0])
    np.testing.assert_allclose(trajectory.output[-1], -2.0, rtol=0, atol=1e-12)


def test_a_register_of_nothing_stays():
    trajectory = drive(0.0, [0.0, 1e6], initial=3.0)
    np.testing.assert_array_equal(trajectory.output, [3.0, 3.0])


@pytest.mark.slow
def test_looser_tolerances_take_fewer_steps_and_keep_their_error():
    steps = []
    for rtol in (1e-4, 1e-8, 1e-12):
        trajectory = ag.simulate(lorenz(), [0.0, 1.0], calculus=ag.Real(order=10, rtol=rtol))
        exact = ag.simulate(lorenz(), [0.0, 1.0])
        assert np.max(np.abs(trajectory.output[-1] - exact.output[-1])) < 1e4 * rtol
        steps.append(int(trajectory.stats["steps"]))
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]


@pytest.mark.parametrize("order", [2, 5, 30])
def test_any_order_reaches_its_tolerance(order):
    calculus = ag.Real(order=order, rtol=1e-6)
    found = ag.simulate(decay(2.0), [0.0, 1.0], calculus=calculus).output[-1]
    np.testing.assert_allclose(found, math.exp(-2), rtol=1e-5)


@pytest.mark.slow
def test_float32_runs_in_float32_to_its_accuracy():
    circuit, ts = cast(lorenz(), "float32"), jnp.linspace(0, 1, 5, dtype="float32")
    trajectory = ag.simulate(circuit, ts)
    exact = ag.simulate(lorenz(), np.linspace(0, 1, 5))
    assert trajectory.output.dtype == "float32"
    assert trajectory.state.point.state.dtype == "float32"
    np.testing.assert_allclose(trajectory.output, exact.output, rtol=1e-4)


def test_a_float32_oscillator_is_right_to_float32():
    ts = jnp.linspace(0, 20, 41, dtype="float32")
    x, v = ag.simulate(cast(oscillator(), "float32"), ts).outputs
    assert x.dtype == v.dtype == "float32"
    np.testing.assert_allclose(x, np.cos(ts.astype(float)), rtol=0, atol=1e-5)


def test_a_pole_before_the_end_is_not_passed():
    trajectory = ag.simulate(ode(lambda x: x**2, 1.0), [0.0, 0.5, 2.0], throw=False)
    assert trajectory.status != ag.Status.ok
    np.testing.assert_allclose(trajectory.output, [1.0, 2.0, np.nan], rtol=1e-11)


def test_airy_functions_far_along_agree_with_mpmath():
    airy = ode(lambda u: jnp.stack([u[1], u[2] * u[0], jnp.ones_like(u[2])]), jnp.zeros(3))
    start = jnp.array([float(mpmath.airyai(0)), float(mpmath.airyai(0, derivative=1)), 0.0])
    circuit = ag.update(airy, {"register.initial": start})
    ts = [0.0, -5.0, -20.0]
    found = ag.simulate(circuit, ts).output[:, 0]
    np.testing.assert_allclose(found, [float(mpmath.airyai(t)) for t in ts], rtol=1e-11, atol=1e-12)


def test_fast_settings_of_the_tests_are_good_to_1e_8():
    found = ag.simulate(decay(), [0.0, 3.0], calculus=FAST).output[-1]
    np.testing.assert_allclose(found, math.exp(-3), rtol=1e-8)


@pytest.mark.parametrize("f", [slow(jumps_after), jumps_at])
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_jump_where_the_run_starts_is_right_by_a_breakpoint(f, start):
    ts = [start, start + 2.0]
    trajectory = drive((f, start), ts, breakpoints=[start])
    np.testing.assert_allclose(trajectory.output, [0.0, 2.0], rtol=0, atol=1e-12)


def test_registers_of_several_shapes_keep_their_own_contents():
    # Two numbers, a vector and a number beside one another: x' = x, each from its own start.
    starts = (1.0, 2.0, [3.0, 4.0], 5.0)
    grows = [(ag.Register("t", start) >> ag.Split()).trace() for start in starts]
    run = ag.simulate(grows[0] @ grows[1] @ grows[2] @ grows[3], [0.0, 1.0])
    for output, start in zip(run.outputs, starts, strict=True):
        np.testing.assert_allclose(output[-1], np.e * np.asarray(start), rtol=1e-14)
