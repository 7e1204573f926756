"""Branches within a run: located on the step's polynomial, stepped to, and gone on from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow, with_values
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


def attracted(u):
    return jnp.stack([u[1], -jnp.sign(u[0])])


@pytest.mark.parametrize("backward", [False, True])
def test_a_force_that_jumps_with_the_state(backward):
    # x'' = -sign(x) from rest at 1: parabolas, with the period 4 sqrt(2).
    ts = np.linspace(0, 4 * np.sqrt(2), 5) * (-1 if backward else 1)
    run = ag.simulate(ode(attracted, jnp.array([1.0, 0.0])), ts)
    np.testing.assert_allclose(run.output[:, 0], [1, 0, -1, 0, 1], atol=1e-12)
    assert int(run.stats["rejected"]) <= 16


@jax.jit
def past_a_jump(threshold):
    def field(x):
        return jnp.where(x < threshold, 1.1 - 0.3 * x, 2 + x)

    return ag.simulate(ode(field, threshold - 0.35), [0.0, 1.5])


@pytest.mark.parametrize("threshold", [0.0, 1e-12, 1e-3, -1.0])
def test_a_jump_that_is_crossed_near_zero(threshold):
    run = past_a_jump(threshold).check()
    level = 1.1 / 0.3
    crossing = np.log((threshold - 0.35 - level) / (threshold - level)) / 0.3
    expected = (2 + threshold) * np.exp(1.5 - crossing) - 2
    np.testing.assert_allclose(run.output[-1], expected, rtol=1e-12)


def test_a_branch_that_asks_for_the_sine_of_a_large_state_is_no_sliding():
    """What the sine of 200 is rounded to is more than the rounding of its own digits."""

    def rates(t, y):
        return {"angle": 1.0, "time": jnp.where(jnp.sin(y["angle"]) > 0.3, 1.0, 0.0)}

    run = ag.simulate(ag.ode(rates, {"angle": 0.0, "time": 0.0}), [0.0, 200.0])
    turns, rest = divmod(200.0, 2 * np.pi)
    each, late = np.pi - 2 * np.arcsin(0.3), rest - np.arcsin(0.3)
    np.testing.assert_allclose(run["time"][-1], (turns + 1) * each, rtol=1e-14)
    assert late > each


def test_sliding_along_a_jump_ends_with_a_status():
    circuit = ode(lambda x: -jnp.sign(x), jnp.array(1.0))
    run = ag.simulate(circuit, [0.0, 0.5, 2.0], calculus=ag.Real(max_steps=500), throw=False)
    assert run.status == ag.Status.zeno
    np.testing.assert_allclose(run.output, [1.0, 0.5, np.nan])
    np.testing.assert_allclose(run.stats["reached"], 1.0, rtol=1e-9)


def towards_threshold(y):
    x, threshold = y
    return jnp.stack([jnp.where(x > threshold, -0.01, 0.01), 0.0])


def test_sliding_is_known_where_the_rates_of_both_sides_lead_back():
    def run(start, threshold):
        return ag.simulate(ode(towards_threshold, [start, threshold]), [0.0, 100.0], throw=False)

    starts, thresholds = np.array([0.0, 0.9, 19.9]), np.array([0.0, 1.0, 20.0])
    runs = jax.vmap(run)(starts, thresholds)
    assert np.all(runs.status == ag.Status.zeno)
    assert np.all(runs.stats["jumps"] <= 8)
    expected = (thresholds - starts) / 0.01
    np.testing.assert_allclose(runs.stats["reached"], expected, rtol=1e-9, atol=1e-25)


def test_what_comes_to_rest_where_a_branch_ends_is_on_the_side_of_that_place():
    def field(t, y):
        (x, *_) = y
        rests = jnp.where(t < 1, -1.0, 0.0)
        asked = (x > 0, jnp.sign(x), jnp.floor(1 - x), jnp.mod(1 - x, 1))
        return (rests, *(jnp.asarray(one, x.dtype) for one in asked))

    run = ag.simulate(ag.ode(field, (1.0, *[0.0] * 4)), [0.0, 3.0])
    # x = 1 - t up to t = 1, and then 0.
    found = [float(output[-1]) for output in run.outputs]
    np.testing.assert_allclose(found, [0, 1, 1, 2, 0.5], rtol=1e-13, atol=1e-300)


def test_what_comes_to_rest_a_rounding_beside_a_whole_number_is_on_its_side():
    """x comes down to about the threshold at t = 1, and stays; modes took turns there for ever."""
    places = np.array([0.3, 1e-16, 0.7])
    pairs = [(at, np.nextafter(1.0 + at, to)) for at in places for to in (0.0, 9.0)]

    @jax.jit
    def run(threshold, start):
        def field(t, u):
            (x, _) = u
            return jnp.where(t < 1, -1.0, 0.0), jnp.floor(threshold - x)

        return ag.simulate(ag.ode(field, (start, 0.0)), [0.0, 1.0, 3.0], throw=False)

    sides = set()
    for threshold, start in pairs:
        found = run(threshold, start)
        x, y = found.outputs
        assert found.status == ag.Status.ok
        sides.add(float(jnp.floor(threshold - x[-1])))
        np.testing.assert_allclose(y[2] - y[1], 2 * np.floor(threshold - x[-1]), atol=1e-12)
    assert len(sides) == 2


@pytest.mark.parametrize(
    ("method", "rtol"),
    [(ag.Tsit5(), 1e-9), slow(ag.Dopri8(), 1e-9), slow(ag.Radau(), 1e-11)],
    ids=["tsit5", "dopri8", "radau"],
)
def test_a_root_that_falls_to_where_its_branch_ends_goes_on_from_there(method, rtol):
    def field(t, x):
        return jnp.where(x > 0.2, -jnp.sqrt(x - 0.2), -1.0)

    run = ag.simulate(ag.ode(field, 1.0), [0.0, 3.0], calculus=ag.Real(method=method, rtol=rtol))
    # x - 0.2 = (a - t / 2)² with a = sqrt(0.8), to t = 2 a: errors d of x move it by 2 sqrt(d).
    np.testing.assert_allclose(run.output[-1], 0.2 - (3 - 2 * np.sqrt(0.8)), rtol=3e-6)


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


# Dopri8 is Tsit5 with another tableau.
METHODS = {"Taylor": None, "Tsit5": ag.Tsit5(), "Radau": ag.Radau()}


def test_a_gradient_moves_with_the_place_of_a_jump():
    """x' doubles where x passes a threshold: x(2) is 4 rate - threshold."""

    def end(threshold):
        circuit = ag.ode(lambda t, x: jnp.where(x < threshold, 0.7, 1.4), 0.0)
        return ag.simulate(circuit, [0.0, 2.0]).output[-1]

    value, slope = jax.jit(jax.value_and_grad(end))(0.4)
    np.testing.assert_allclose([value, slope], [2.4, -1.0], rtol=1e-13)


def both_orders(fn):
    """The second derivatives, the first in both modes, and the values."""
    run = jax.jit(with_values(jax.jacfwd, with_values(jax.jacrev, fn)))
    return jax.tree.leaves(run(jnp.array([0.4, 0.7])))


@functools.cache
def past_a_jump_and_a_kink():
    """Those of the test below in closed form."""

    def exact(p):
        threshold, rate = p
        jump = threshold / rate
        x = threshold + 2 * rate * (2 - jump)
        kink = jump + (1 - threshold) / (2 * rate)
        return jnp.stack([x, kink + (2 - kink) * (1 + x) / 2])

    return both_orders(exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_derivatives_of_both_orders_move_with_the_place_of_a_branch(name):
    """x' jumps where x passes a threshold, and y' = max(x, 1) has a kink."""

    def field(u, threshold, rate):
        return jnp.stack([jnp.where(u[0] < threshold, rate, 2 * rate), jnp.maximum(u[0], 1.0)])

    def end(p):
        start = jnp.zeros(2)
        real = ag.Real(method=METHODS[name], rtol=1e-10)
        circuit = ag.ode(lambda t, u: field(u, *p), start)
        return ag.simulate(circuit, [0.0, 2.0], calculus=real).output[-1]

    for one, other in zip(both_orders(end), past_a_jump_and_a_kink(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-8)


def test_no_branch_on_the_state_is_passed_over_however_short():
    """x' = 1, and y' = 1000 where x is between 5 and 5.001: one at the end."""

    def field(u):
        inside = (u[0] > 5) & (u[0] < 5.001)
        return jnp.stack([1.0, jnp.where(inside, 1000.0, 0.0)])

    run = ag.simulate(ode(field, jnp.zeros(2)), [0.0, 100.0], calculus=ag.Real(method=ag.Tsit5()))
    np.testing.assert_allclose(run.output[-1], [100.0, 1.0], rtol=1e-9)
    assert run.stats["jumps"] == 2


def test_whole_numbers_and_remainders_of_the_state_switch_where_they_should():
    """An angle that turns at the rate 1: how often it went around, and in which half it is."""

    def field(u):
        upper = jnp.mod(u[0], 2 * jnp.pi) < jnp.pi
        return jnp.stack([1.0, jnp.where(upper, 1.0, -1.0), jnp.floor(u[0])])

    ts = np.linspace(0, 6 * np.pi, 7)
    run = ag.simulate(ode(field, jnp.zeros(3)), ts)
    np.testing.assert_allclose(run.output[:, 1], np.pi * (np.arange(7) % 2), atol=1e-12)
    whole = np.floor(ts)
    np.testing.assert_allclose(
        run.output[:, 2], whole * (whole - 1) / 2 + whole * (ts - whole), rtol=1e-12
    )
    back = ag.simulate(ode(field, run.output[-1]), ts[::-1])
    np.testing.assert_allclose(back.output[-1], 0, atol=1e-11)


def test_a_maximum_with_what_is_no_number_ends_the_run():
    def field(x):
        return jnp.maximum(-x, jnp.sqrt(x - 1.0) - 10)

    run = ag.simulate(ode(field, jnp.array(2.0)), [0.0, 0.5, 5.0], throw=False)
    # Which of the two comes first is up to the last digit, and to the version of XLA.
    assert run.status in (ag.Status.step_size, ag.Status.nonfinite)
    assert abs(run.reached - np.log(2.0)) < 1e-6
    assert np.isnan(run.output[-1])


@pytest.mark.slow
def test_branches_beside_what_is_no_number_and_without_bounds():
    """Each rate is a branch on x = 1 - t, and its state the integral up to 1.5."""

    def field(u):
        x = u[0]
        root = jnp.sqrt(x)
        rates = [
            -1.0,
            jax.lax.clamp(0.5, x, jnp.inf),
            jax.lax.clamp(-jnp.inf, x, 0.5),
            jax.lax.clamp(0.7, x, 0.5),  # JAX takes the upper bound
            jnp.where(x > 0.1, jnp.where(root > 0.5, 1.0, 2.0), 0.0),
            jnp.where(root < 0.5, 1.0, 0.0),  # no number is not less
            x // 0.4,
        ]
        return jnp.stack(rates)

    run = ag.simulate(ode(field, jnp.eye(7)[0]), [0.0, 1.5])
    expected = [-0.5, 0.875, 0.25, 0.75, 1.05, 0.25, 0.2]
    np.testing.assert_allclose(run.output[-1], expected, rtol=1e-12)
    assert run.stats["jumps"] > 0


def test_what_has_a_power_of_its_magnitude_passes_zero():
    def field(u):
        return jnp.stack([u[1], -(jnp.abs(u[0]) ** 2.5) * jnp.sign(u[0])])

    run = ag.simulate(ode(field, jnp.array([1.0, 0.0])), np.linspace(0, 12, 5))
    energy = run.output[:, 1] ** 2 / 2 + np.abs(run.output[:, 0]) ** 3.5 / 3.5
    np.testing.assert_allclose(energy, 1 / 3.5, rtol=1e-9)


def test_a_tank_runs_dry():
    run = ag.simulate(
        ode(lambda h: -jnp.where(h > 0, jnp.sqrt(h), 0.0), jnp.array(1.0)), [0.0, 1.0, 3.0]
    )
    np.testing.assert_allclose(run.output, [1.0, 0.25, 0.0], atol=1e-14)


@pytest.mark.slow
def test_a_run_that_goes_on_takes_the_branches_of_its_own_parameters():
    """x' = 1, and y' = x above a threshold and x / 2 below, which moves at t = 0.5."""

    def circuit(threshold):
        return ode(lambda u: jnp.stack([1.0, jnp.where(u[0] > threshold, u[0], u[0] / 2)]), begin)

    begin = jnp.zeros(2)
    for before, after in ((0.3, 1.2), (1.2, 0.4), (0.3, 0.4)):
        first = ag.simulate(circuit(before), [0.0, 0.5])
        run = ag.simulate(circuit(after), [0.5, 2.0], state=first.state)
        low, high = min(before, 0.5) ** 2, max(after, 0.5) ** 2
        expected = (low / 2 + 0.25 - low) / 2 + ((high - 0.25) / 2 + 4 - high) / 2
        np.testing.assert_allclose(run.output[-1, 1], expected, rtol=1e-13)


def test_branches_in_each_turn_of_a_short_loop_are_held():
    """x = rate t passes a threshold at each turn, at which y' grows by one."""

    def rate_of(x, threshold):
        def turn(k, total):
            return total + jnp.where(x < threshold + 0.1 * k, 1.0, 2.0)

        return jax.lax.fori_loop(0, 3, turn, 0.0)

    def end(p):
        threshold, rate = p
        circuit = ag.ode(lambda t, u: (rate, rate_of(u[0], threshold)), (0.0, 0.0))
        return ag.simulate(circuit, [0.0, 2.0], calculus=ag.Real(max_steps=63)).outputs[1][-1]

    value, slopes = jax.jit(jax.value_and_grad(end))(jnp.array([0.63, 0.9]))
    late = (3 * 0.63 + 0.3) / 0.9
    np.testing.assert_allclose(value, 6 + 6 - late, rtol=1e-13)
    np.testing.assert_allclose(slopes, [-3 / 0.9, late / 0.9], rtol=1e-13)


def test_layers_of_networks_keep_asking():
    weights = jnp.linspace(-1, 1, 96).reshape(3, 32)
    run = ag.simulate(
        ode(lambda x: -weights @ jnp.maximum(weights.T @ x, 0.0), jnp.ones(3)), [0.0, 1.0]
    )
    assert "jumps" not in run.stats


def test_complex_states_stand_beside_branches_and_events():
    """z' = i z beside x' = 1 up to x = 0.5, and 1/2 from there on."""

    def rates(t, y):
        z, x = y
        return 1j * z, jnp.where(x < 0.5, 1.0, 0.5)

    circuit = ag.ode(rates, (1.0 + 0j, 0.0))
    watched = ag.Event(lambda t, wires: t - 1.0, name="one")
    run = ag.simulate(circuit, [0.0, 2.0], events=watched)
    np.testing.assert_allclose(run.outputs[0][-1], np.exp(2j), rtol=1e-13)
    np.testing.assert_allclose(run.outputs[1][-1], 1.25, rtol=1e-13)
    np.testing.assert_allclose(run.events["one"].times[0], 1.0, rtol=1e-15)
