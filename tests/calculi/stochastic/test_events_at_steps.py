"""Events at the ends of steps: against plain loops with the same noise, and closed forms."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow

import asgard as ag

KEY = jax.random.key(5)


def neuron(current, sigma):
    """A leaky neuron with noise that starts again from 0 at 1: its potential and its spikes.

    The potential v is what a Reset holds and the noise since the start, w; at a spike the Reset
    holds -w, so that v is 0.
    """
    leak = ag.Const(current) @ ag.Id() >> ag.Function(jnp.subtract, 2)
    noise = ag.Const(sigma) >> ag.StochasticRegister("t", "W") >> ag.Split(2)
    past = ag.Function(lambda v: v - 1.0, 1)
    # (v, v, w, w): rate, trigger, value of the Reset, and w
    held = (leak @ past @ ag.Scalar(-1.0)) >> ag.Reset("t", 0.0)
    inner = (ag.Split(2) @ noise) >> (held @ ag.Id()) >> ag.Add() >> ag.Var("v") >> ag.Split(3)
    return (inner >> (ag.Id() @ (past >> ag.Counter()) @ ag.Id())).trace()


def looped(current, sigma, increments, h):
    """The same by Euler's method in NumPy, `[paths, steps + 1]` of potentials and of spikes."""
    held, w = np.zeros(len(increments)), np.zeros(len(increments))
    count, was = np.zeros(len(increments)), np.zeros(len(increments), bool)
    rows = [(held + w, count)]
    for dw in increments.T:
        held, w = held + (current - held - w) * h, w + sigma * dw
        fires = (held + w > 1.0) & ~was
        held, count = np.where(fires, -w, held), count + fires
        was = held + w > 1.0
        rows.append((held + w, count))
    return np.moveaxis(np.array(rows), 0, 2)


@pytest.mark.slow
def test_neurons_with_noise_are_their_loop_path_by_path():
    paths, steps, h = 30, 400, 0.01
    current, sigma = 1.1, 0.4
    increments = np.random.default_rng(2).normal(size=(paths, steps)) * np.sqrt(h)
    v, spikes = looped(current, sigma, increments, h)
    assert spikes[:, -1].min() < spikes[:, -1].max()  # they differ

    def run(current, dw, mesh=None, **options):
        calculus = ag.Stochastic(steps=100, noise={"W": dw})
        options = {"calculus": calculus, "key": KEY, "paths": paths, "tile": 8, **options}
        return ag.ensemble(neuron(current, sigma), np.arange(5.0), mesh=mesh, **options)

    found = run(current, increments)
    np.testing.assert_allclose(found["v"], v[:, ::100], atol=1e-9)
    np.testing.assert_array_equal(found.outputs[1], spikes[:, ::100])
    # Statistics, on a mesh, and pathwise derivatives: events stay at their steps.
    mesh = jax.make_mesh((1,), ("paths",))
    mean = ag.statistics.Mean(of=lambda v, spikes: v[-1])

    def expected(current):
        return run(current, increments, mesh, reduce=mean).statistics

    value, slope = jax.value_and_grad(expected)(current)
    np.testing.assert_allclose(value, v[:, -1].mean(), atol=1e-9)
    step = 1e-7
    up, down = (looped(current + s, sigma, increments, h) for s in (step, -step))
    np.testing.assert_array_equal(up[1], down[1])
    np.testing.assert_allclose(slope, (up[0] - down[0])[:, -1].mean() / (2 * step), rtol=1e-5)


def test_a_run_goes_on_to_the_same_bits():
    circuit, calculus = neuron(2.0, 0.3), ag.Stochastic(steps=100)
    whole = ag.simulate(circuit, [0.0, 1.0, 2.0], calculus=calculus, key=KEY)
    first = ag.simulate(circuit, [0.0, 1.0], calculus=calculus, key=KEY)
    rest = ag.simulate(circuit, [1.0, 2.0], calculus=calculus, key=KEY, state=first.state)
    for a, b in zip(rest.outputs, whole.outputs, strict=True):
        np.testing.assert_array_equal(a, b[1:])
    assert whole.outputs[1][-1] > 1
    fewer = dataclasses.replace(first.state, sides=first.state.sides[:1])
    with pytest.raises(ag.CircuitError, match="state must be"):
        ag.simulate(circuit, [1.0, 2.0], calculus=calculus, key=KEY, state=fewer)


@pytest.mark.parametrize("method", ["milstein", "weak2", *map(slow, ("euler", "additive", "heun"))])
def test_a_sawtooth_is_exact_under_every_method(method):
    kind = "stratonovich" if method == "heun" else "ito"
    noise = ag.Const(0.5) >> ag.StochasticRegister("t", "W")
    circuit = ag.Const(1.0) @ ag.Clock(0.5, 0.2) @ ag.Const(-1.0) >> ag.Reset("t") >> ag.Var("x")
    calculus = ag.Stochastic(dt=0.1, method=method, interpretation=kind)
    times = np.arange(0.0, 3.01, 0.1)
    found = ag.simulate(circuit @ noise, times, calculus=calculus, key=KEY)
    clock = np.round(times - 0.2, 9)
    expected = np.where(clock < 0, times, -1.0 + np.mod(clock + 1e-9, 0.5))
    np.testing.assert_allclose(found["x"], expected, atol=1e-8)


def test_clocks_never_fire_beside_their_step():
    """Steps end some last digits beside a clock's times, and no event is lost or told twice."""
    count = 60

    @jax.jit
    def counted(period, times):
        circuit = ag.Clock(period, times[0]) >> ag.Counter()
        return ag.simulate(circuit, times, calculus=ag.Stochastic(3)).output

    for period in (0.1, 0.3, 1 / 3, 0.7, np.pi):
        for start in (0.0, 0.7, 1000.1):
            found = counted(period, start + period * np.arange(count))
            np.testing.assert_array_equal(found, 1 + np.arange(count))
    times = np.float32(0.1 * np.arange(count))
    found = ag.simulate(ag.Clock(0.1) >> ag.Counter(), times, calculus=ag.Stochastic(3)).output
    np.testing.assert_array_equal(found, 1 + np.arange(count))
    back = ag.Stochastic(dt=0.05, noise="off")
    found = ag.simulate(ag.Clock(1.0, 0.5) >> ag.Counter(), [2.25, 0.25], calculus=back)
    assert found.output[-1] == 2  # backwards a clock rises half a period before its phase


def test_a_thermostat_is_of_the_order_of_its_steps():
    heat = ag.Function(lambda h, x: 3.0 * h - x, 2) >> ag.Register("t", 0.0) >> ag.Split(3)
    relay = ag.Relay(1.0, 2.0, 1.0, 0.0)
    loop = (heat >> (ag.Id() @ relay @ ag.Id())).trace(2)
    times = np.arange(0.0, 4.01, 0.5)
    # It heats from 0 to 2 in log 3, cools to 1 in log 2, and heats to 2 in log 2 again.
    first, later = np.log(3.0), np.log(2.0)
    turns = np.maximum(times - first, 0) / later
    part = np.mod(turns, 1) * later
    cycles = np.where(np.floor(turns) % 2 == 0, 2 * np.exp(-part), 3 - 2 * np.exp(-part))
    exact = np.where(times < first, 3 * (1 - np.exp(-times)), cycles)
    errors = []
    for steps in (50, 400):
        found = ag.simulate(loop, times, calculus=ag.Stochastic(steps)).output
        errors.append(np.max(np.abs(found - exact)))
    assert errors[0] < 0.15
    assert errors[1] < errors[0] / 4
    relay = ag.simulate(ag.Relay(0.0, 1.0), [0.0, 1.0], inputs=(2.0,), calculus=ag.Stochastic(1))
    np.testing.assert_array_equal(relay.output, [1, 1])


def test_what_an_event_sets_off_follows_at_the_next_step():
    after = ag.Function(lambda count: count - 0.5, 1)
    first = ag.Clock(10.0, 0.2) >> ag.Counter() >> ag.Split()
    second = (after >> ag.Counter()) >> ag.Split()
    circuit = first >> (ag.Id() @ second) >> (ag.Id(2) @ (after >> ag.Counter()))
    found = ag.simulate(circuit, np.arange(7) * 0.1, calculus=ag.Stochastic(1))
    np.testing.assert_array_equal(found.outputs[0], [0, 0, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(found.outputs[1], [0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(found.outputs[2], [0, 0, 0, 0, 1, 1, 1])


def test_an_own_atom_spikes_at_its_rate_in_every_entry():
    class Spike(ag.Hybrid):
        dim: str = eqx.field(static=True, default="t")
        initial: jax.Array = eqx.field(default=0.0)
        n_in = 1

        def rate(self, content, current):
            return current - content

        def guard(self, content, current):
            return content - 1.0

        def jump(self, content, current):
            return 0.0 * content

    currents = np.array([0.9, 1.5, 3.0])
    found = ag.simulate(Spike(), [0.0, 1.0], inputs=(currents,), calculus=ag.Stochastic(10_000))
    periods = np.log(currents[1:] / (currents[1:] - 1.0))
    exact = currents * (1 - np.exp(-np.array([1.0, *np.mod(1.0, periods)])))
    np.testing.assert_allclose(found.output[-1], exact, atol=2e-3)


def test_a_trigger_that_is_lost_ends_its_path():
    ends = ag.Function(lambda t: jnp.where(t > 0.45, jnp.nan, t - 0.05), 1)
    circuit = ag.Coordinate("t") >> ends >> ag.Counter() >> ag.Var("count")
    found = ag.simulate(circuit, [0.0, 0.4, 0.8], calculus=ag.Stochastic(4), throw=False)
    assert found.status == ag.Status.nonfinite
    np.testing.assert_array_equal(found["count"], [0, 1, np.nan])
