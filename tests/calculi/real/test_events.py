"""Hybrid systems under Real: events to the last digit, exact derivatives across jumps."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_both_modes, slow

import asgard as ag
from asgard.calculi.real.crossing import Look
from asgard.calculi.real.events import Eventful
from asgard.calculi.real.hybrid import only_jumps
from asgard.calculi.real.methods.method import CUT

METHODS = {
    "default": ag.Real(max_steps=300, max_events=8),
    "Tsit5": ag.Real(method=ag.Tsit5(), rtol=1e-10, atol=1e-10, max_steps=300, max_events=8),
    "Dopri8": ag.Real(method=ag.Dopri8(), rtol=1e-10, atol=1e-10, max_steps=300, max_events=8),
    "Radau": ag.Real(method=ag.Radau(), rtol=1e-10, atol=1e-10, max_steps=300, max_events=8),
}
TIMES = np.linspace(0, 2.2, 6)
BOUNCE = (ag.Event("height", direction=-1),)
# Restitution, height at the start, gravity.
GIVEN = (jnp.asarray(0.8), jnp.asarray(1.0), jnp.asarray(9.81))


def ball(restitution, height, gravity):
    """A ball that bounces; its height and speed."""

    def rule(h, v, restitution, gravity):
        return v, -gravity + 0 * h, -h, -restitution * v

    states = ag.Register("t", height) @ ag.Reset("t", 0.0)
    numbers = ag.Id(2) @ ag.Const(restitution) @ ag.Const(gravity)
    out = (ag.Var("height") @ ag.Id()) >> (ag.Split() @ ag.Split()) >> ag.Permute((0, 2, 1, 3))
    return (numbers >> ag.Function(rule, 4, 4) >> states >> out).trace(2)


def flights(restitution, height, gravity, count=6):
    """The times of bounces, and the speeds after them."""
    first = jnp.sqrt(2 * height / gravity)
    times, speeds = [first], [restitution * gravity * first]
    for _ in range(count):
        times.append(times[-1] + 2 * speeds[-1] / gravity)
        speeds.append(restitution * speeds[-1])
    return jnp.stack(times), jnp.stack(speeds)


def heights(restitution, height, gravity):
    """The height at `TIMES`."""
    found = height - gravity * TIMES**2 / 2
    for time, speed in zip(*flights(restitution, height, gravity), strict=True):
        since = TIMES - time
        found = jnp.where(since > 0, speed * since - gravity * since**2 / 2, found)
    return found


def heights_and_bounces(*given):
    return heights(*given), flights(*given)[0][:3]


@functools.cache
def exact_bounces():
    """The same of what is given, and its slopes."""
    return jax.jit(lambda *given: in_both_modes(heights_and_bounces, *given)[:2])(*GIVEN)


def simulated(calculus, *given):
    found = ag.simulate(ball(*given), TIMES, calculus=calculus, events=BOUNCE)
    return found.outputs[0], found.events["height"].times[:3]


def close(found, expected, tolerance):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["default", slow("Tsit5"), slow("Dopri8"), slow("Radau")])
def test_a_ball_its_bounces_and_their_derivatives_in_both_modes(name):
    run = functools.partial(in_both_modes, functools.partial(simulated, METHODS[name]))
    values, forward, reverse = jax.jit(run)(*GIVEN)
    expected, slopes = exact_bounces()
    tolerance = 1e-13 if name == "default" else 1e-10
    close(values, expected, tolerance)
    close(forward, slopes, 100 * tolerance)
    close(reverse, slopes, 100 * tolerance)


@pytest.mark.slow
def test_second_derivatives_across_bounces():
    def loss(run):
        return lambda *given: sum(jnp.sum(x**2) for x in run(*given))

    def found(*given):
        return simulated(METHODS["default"], *given)

    hessian = jax.jit(jax.jacfwd(jax.grad(loss(found), (0, 1, 2)), (0, 1, 2)))(*GIVEN)
    exact = jax.jit(jax.hessian(loss(heights_and_bounces), (0, 1, 2)))(*GIVEN)
    close(hessian, exact, 1e-10)


@pytest.mark.slow
def test_each_run_of_a_batch_has_its_own_events_and_gradients():
    restitutions = jnp.linspace(0.75, 0.9, 4)

    def last(restitution):
        found = ag.simulate(
            ball(restitution, *GIVEN[1:]), TIMES, calculus=METHODS["default"], throw=False
        )
        return found.outputs[0][-1], found.stats["jumps"]

    run = jax.jit(jax.vmap(jax.value_and_grad(last, has_aux=True)))
    (values, jumps), slopes = run(restitutions)

    @jax.jit
    @jax.vmap
    def exact(restitution):
        height = jax.value_and_grad(lambda e: heights(e, *GIVEN[1:])[-1])(restitution)
        return height, flights(restitution, *GIVEN[1:], count=12)[0]

    expected, bounces = exact(restitutions)
    close((values, slopes), expected, 1e-11)
    np.testing.assert_array_equal(jumps, np.sum(bounces < TIMES[-1], axis=1))


def test_a_ball_at_rest_ends_with_a_status_where_it_rests():
    rest = jnp.sqrt(2 / 9.81) * (1 + 2 * 0.8 / 0.2)
    found = ag.simulate(ball(*GIVEN), [0.0, 3.0, 6.0], throw=False)
    assert found.status == ag.Status.zeno
    np.testing.assert_allclose(found.reached, rest, rtol=1e-12)
    assert np.isfinite(found.outputs[0][1])
    assert np.isnan(found.outputs[0][2])
    with pytest.raises(ag.SimulationError, match=r"zeno at t = 4\.06371"):
        found.check()


@pytest.mark.slow
def test_dense_output_and_going_on_across_bounces():
    ball_ = ball(*GIVEN)
    whole = ag.simulate(ball_, TIMES, calculus=ag.Real(dense=True), events=BOUNCE)
    np.testing.assert_allclose(whole.evaluate(TIMES).outputs[0], whole.outputs[0], atol=1e-13)
    times = whole.events["height"].times[:3]
    before, after = (whole.evaluate(times, side=side).outputs[1] for side in ("left", "right"))
    np.testing.assert_allclose(before, -np.sqrt(2 * 9.81) * 0.8 ** np.arange(3), rtol=1e-12)
    np.testing.assert_allclose(after, -0.8 * before, rtol=1e-12)
    first = ag.simulate(ball_, TIMES[:3], events=BOUNCE)
    second = ag.simulate(ball_, TIMES[2:], state=first.state, events=BOUNCE)
    np.testing.assert_array_equal(second.outputs[0], whole.outputs[0][2:])


def test_a_terminal_event_ends_a_run_which_goes_on_from_there():
    level = ag.Event(lambda t, wires: wires["height"] - 0.5 * t, name="low", terminal=True)
    found = ag.simulate(ball(*GIVEN), TIMES, events=level)
    # 1 - g t² / 2 = t / 2
    time = (-0.5 + np.sqrt(0.25 + 2 * 9.81)) / 9.81
    assert found.status == ag.Status.event
    np.testing.assert_allclose(found.reached, time, rtol=1e-14)
    assert found.events["low"].count == 1
    np.testing.assert_array_equal(np.isnan(found.outputs[0]), time < TIMES)
    rest = ag.simulate(ball(*GIVEN), [found.reached, *TIMES[2:]], state=found.state)
    np.testing.assert_allclose(rest.outputs[0][1:], jax.jit(heights)(*GIVEN)[2:], atol=1e-13)


def test_what_is_wrong_with_events_is_said(unchecked):
    run, given = ag.simulate, ball(*GIVEN)
    wrong = (
        (ag.Event("speed"),),
        (ag.Event("height"), ag.Event("height")),
        (ag.Event(lambda t, wires: jnp.zeros(2), name="two"),),
        ("height",),
        lambda t, wires: wires["height"],
        ag.Event(lambda t, y: y - 0.5, name="low"),
        ag.Event(lambda t, wires: wires["hight"], name="low"),
    )
    messages = (
        r"no wire.*'speed'",
        "2 events are named",
        "one real number",
        "tuple of ag.Event",
        r"or a function, ag\.Event\(lambda t, wires",
        "'low': .*with the time and a dictionary of what is named once: height",
        "'low': .*: 'hight'; .* dictionary of what is named once: height",
    )
    for events, message in zip(wrong, messages, strict=True):
        with pytest.raises(ag.CircuitError, match=message):
            run(given, TIMES, events=events)
    with pytest.raises(ag.CircuitError, match="'low' is called with the time, the named wires"):
        ag.Event(lambda wires: wires["x"], name="low")
    with pytest.raises(ag.CircuitError, match="direction"):
        ag.Event("height", direction=2)
    with pytest.raises(ag.CircuitError, match="Discrete watches no events"):
        run(ag.Id(), [0, 1], inputs=(1.0,), calculus=ag.Discrete(), events=BOUNCE)
    with pytest.raises(ag.CircuitError, match="Stochastic watches no events"):
        run(ag.Id(), [0, 1], inputs=(1.0,), calculus=ag.Stochastic(steps=1), events=BOUNCE)
    full = run(given, TIMES, events=BOUNCE, calculus=ag.Real(max_events=2), throw=False)
    assert full.status == ag.Status.events


def test_a_thermostat_over_a_thousand_cycles():
    def rule(temperature, heating):
        return 10.0 + 20.0 * heating - temperature, -temperature

    states = ag.Register("t", 15.0) @ ag.Relay(-21.0, -19.0)
    out = (ag.Split() @ ag.Split()) >> ag.Permute((0, 2, 1, 3))
    room = (ag.Function(rule, 2, 2) >> states >> out).trace(2)
    half = np.log(11 / 9)
    ts = np.array([0.0, 0.1, 400.0])
    found = ag.simulate(room, ts)
    since = (ts[-1] - np.log(15 / 9)) % (2 * half)
    exact = 10 + 11 * np.exp(-since) if since < half else 30 - 11 * np.exp(half - since)
    np.testing.assert_allclose(found.outputs[0][-1], exact, atol=1e-10)
    np.testing.assert_array_equal(found.outputs[1], [1.0, 1.0, float(since > half)])
    cycles = (ts[-1] - np.log(15 / 9)) // (2 * half)
    assert found.stats["jumps"] == 2 + 2 * cycles + (since > half)


@ag.circuit
def room(*, low, high):
    """A room of 19 degrees that is heated where it is colder than -high, up to -low."""
    temperature, heating = ag.register("t", 19.0), ag.relay(low, high)
    heating.input = -temperature
    temperature.input = 10.0 + 20.0 * heating - temperature
    return {"temperature": temperature, "heating": heating}


def test_a_relay_that_starts_on_and_is_switched_off_early_in_a_step():
    """It was missed; and so were relays without a band, which slide, or of crossed levels."""

    @jax.jit
    def run(low, high):
        return ag.simulate(room(low=low, high=high), [0.0, 0.17, 1.0], throw=False)

    found = run(-20.5, -20.0)
    first, half = np.log(11 / 9.5), np.log(1.05) + np.log(10 / 9.5)
    rest = (1.0 - first) % half
    last = (
        10 + 10.5 * np.exp(-rest) if rest < np.log(1.05) else 30 - 10 * np.exp(np.log(1.05) - rest)
    )
    exact = [19.0, 10 + 10.5 * np.exp(first - 0.17), last]
    np.testing.assert_allclose(found["temperature"], exact, rtol=1e-12)
    for low, high in ((-20.0, -20.0), (-19.0, -21.0)):
        assert run(low, high).status == ag.Status.zeno


@ag.circuit
def cell(*, start, period):
    """A state that rises and starts again from 0.3; its trigger is above zero in pulses too."""
    v, pulse = ag.reset("t", start), ag.Pulse(period, 0.25)()
    trigger = 0.7 * pulse + v - 0.7
    v.input = 1.3 + 0.0 * v, trigger, 0.3 + 0.0 * v
    spikes = ag.counter()
    spikes.input = trigger
    return {"v": v, "spikes": spikes}


def test_a_trigger_that_falls_across_a_breakpoint_can_rise_again():
    """It was taken to be above zero still; and a pulse at 0 to have begun earlier."""

    def run(start, period):
        return ag.simulate(cell(start=start, period=period), [0.0, 1.5])

    # The pulse of [0.8, 1] sets it off and leaves it at 0.56, below 0.7, to which it comes twice.
    found = run(-0.5, 0.8)
    assert found["spikes"][-1] == 3
    np.testing.assert_allclose(found["v"][-1], 0.3 + 1.3 * 0.5 - 0.14 - 0.4, rtol=1e-12)
    assert run(0.1, 1.6)["spikes"][0] == 1


@ag.circuit
def crossings(*, gain):
    """An oscillator whose upward crossings are counted: by a guard of some slope, and by one that
    each other of them lifts at once."""
    x, v = ag.register("t", 0.3), ag.register("t", 1.0)
    x.input, v.input = v, -x
    up = gain * (x - 0.1)
    switch = ag.reset("t", 0.0)
    switch.input = 0.0 * x, up, 1.0 - switch
    all_, odd = ag.counter(), ag.counter()
    all_.input, odd.input = up, switch - 0.5
    return {"all": all_, "odd": odd}


def test_a_crossing_is_one_event_however_steep_its_guard_is_and_whatever_follows_at_once():
    """Rounding may put a guard below zero where it was found to have passed it."""
    size, phase = np.hypot(0.3, 1.0), np.arctan2(0.3, 1.0)
    count = np.floor((100.0 + phase - np.arcsin(0.1 / size)) / (2 * np.pi))
    for gain in (1.0, 100.0, 1e4, 1e12):
        found = ag.simulate(crossings(gain=gain), [0.0, 100.0])
        assert found["all"][-1] == count
        assert found["odd"][-1] == (count + 1) // 2


def test_a_crossing_in_either_direction_is_one_event_wherever_rounding_puts_it():
    # The time of a crossing of sin(t) is rounded, and so may stand where it has not passed zero.
    ramp = ag.ode(lambda t, y: 1.0, 0.3)
    event = ag.Event(lambda t, wires: jnp.sin(wires["y"]), name="half")
    falls = ag.Event(lambda t, wires: jnp.sin(wires["y"]), name="falls", direction=-1)
    run = ag.simulate(ramp, [0.0, 200.0], events=(event, falls))
    times = run.events["half"].times
    assert run.events["half"].count == 63
    assert run.events["falls"].count == 32
    np.testing.assert_allclose(times[:63], np.pi * np.arange(1, 64) - 0.3, rtol=1e-15)
    np.testing.assert_array_equal(run.events["falls"].times[:32], times[:63:2])


def test_no_event_is_where_only_the_end_of_a_guards_series_passes_zero():
    """Steps along a ramp may be long, but a series of tanh holds no further than to its poles."""
    ramp = ag.ode(lambda t, y: 1.0, 0.0)
    event = ag.Event(lambda t, wires: jnp.tanh(wires["y"] - 7), name="seven")
    run = ag.simulate(ramp, [0.0, 200.0], events=event)
    assert run.events["seven"].count == 1
    np.testing.assert_allclose(run.events["seven"].times[0], 7.0, rtol=1e-15)


@ag.circuit
def beside_a_relay(*, speed=7.6):
    """A wave along a ramp: its rises, and how long a relay is on that it switches."""
    y, on, time, rises = ag.register("t", -0.1), ag.relay(-0.5, 0.5), ag.register("t"), ag.counter()
    wave = jnp.sin(speed * y)
    y.input, on.input, time.input, rises.input = 1.0, wave, on, wave
    return {"rises": rises, "time": time}


def test_a_relay_switches_at_every_wave_of_what_moves_slowly_itself():
    run = ag.simulate(beside_a_relay(), [0.0, 100.0])
    period = 2 * np.pi / 7.6
    turns, rest = divmod(99.9, period)
    # On from a twelfth of a wave to seven twelfths.
    late = np.clip(rest - period / 12, 0, period / 2)
    assert run["rises"][-1] == turns + 1
    np.testing.assert_allclose(run["time"][-1], turns * period / 2 + late, rtol=1e-13)


class Drifting(ag.SampleHold):
    """It moves away from what it holds."""

    def rate(self, content, value, trigger):
        return jnp.ones_like(value)


class Kicked(ag.Hybrid):
    dim: str = eqx.field(static=True, default="t")
    initial: jax.Array = eqx.field(converter=jnp.asarray, default=1.0)
    n_in = 1

    def guard(self, content, trigger):
        return trigger

    def jump(self, content, trigger):
        return -content


def test_a_content_only_jumps_where_its_rate_is_left_at_zero():
    assert only_jumps(ag.Counter())
    assert only_jumps(ag.Relay(0.0, 1.0))
    assert only_jumps(Kicked())
    assert not any(map(only_jumps, (Drifting(), ag.Reset("t"))))


def test_a_clock_samples_at_the_very_times_that_are_saved():
    held = (ag.Coordinate("t") @ ag.Clock(0.5)) >> ag.SampleHold(-1.0)
    circuit = held >> ag.Split() >> (ag.Id() @ ag.Register("t"))
    dense = ag.Real(dense=True, max_steps=64)
    found = ag.simulate(circuit, np.linspace(0, 2, 9), calculus=dense)
    np.testing.assert_allclose(found.outputs[0], [0, 0, 0.5, 0.5, 1, 1, 1.5, 1.5, 2])
    expected = [0, 0, 0, 0.125, 0.25, 0.5, 0.75, 1.125, 1.5]
    np.testing.assert_allclose(found.outputs[1], expected, atol=1e-14)

    before = found.evaluate([0.5, 1.0, 2.0], side="left").outputs[0]
    np.testing.assert_allclose(before, [0, 0.5, 1.5])

    def last(period):
        circuit = (ag.Coordinate("t") @ ag.Clock(period)) >> ag.SampleHold() >> ag.Register("t")
        return ag.simulate(circuit, [0.0, 2.2], calculus=ag.Real(max_steps=100)).output[-1]

    # Four whole periods hold 0, p, 2 p, 3 p; the rest of the time 4 p.
    value, slope = jax.jit(jax.value_and_grad(last))(0.5)
    np.testing.assert_allclose(value, 6 * 0.25 + 2.0 * 0.2)
    np.testing.assert_allclose(slope, 12 * 0.5 + 4 * 2.2 - 32 * 0.5, rtol=1e-12)


def test_a_clock_ticks_at_every_multiple_of_its_period():
    for period in (0.1, 0.07, 1 / 3):
        # The second one falls where the first one rises.
        ticks = (ag.Clock(period) >> ag.Counter()) @ (ag.Clock(period, period / 2) >> ag.Counter())
        found = ag.simulate(ticks, np.arange(51) * period)
        np.testing.assert_array_equal(found.outputs[0], 1 + np.arange(51))
        np.testing.assert_array_equal(found.outputs[1], np.arange(51))


@ag.circuit
def touching(*, at=0.0):
    """Two bodies in contact: a guard that is nothing but rounding."""
    places = [ag.register("t", at - 1.0) for _ in range(2)]
    speeds = [ag.register("t", at) for _ in range(2)]
    one, other = ag.sample_hold(at), ag.sample_hold(at)
    moves = [speeds[0] - other, speeds[1] - one + other]
    one.input = one + moves[1], places[1]
    other.input = other + moves[0] - moves[1], places[0] - places[1]
    for place, speed, move in zip(places, speeds, moves, strict=True):
        place.input, speed.input = move, -place
    return places[0], one


def test_a_guard_of_rounding_ends_within_the_steps_that_a_run_may_take():
    calculus = ag.Real(max_steps=60, method=ag.Tsit5(), rtol=1e-8, atol=1e-8)
    found = ag.simulate(touching(), [0.0, 1.6], calculus=calculus, throw=False)
    assert found.status == ag.Status.max_steps


class Spiking(ag.Hybrid):
    """Leaky neurons that start again from 0 at their threshold 1."""

    current: jax.Array
    initial: jax.Array
    dim: str = eqx.field(static=True, default="t")
    n_in = 0

    def rate(self, v):
        return self.current - v

    def guard(self, v):
        return v - 1.0

    def jump(self, v):
        return 0.0 * v


def test_neurons_in_one_wire_spike_each_at_its_own_times():
    current, ts = np.linspace(1.2, 2.0, 5), np.array([0.0, 3.0, 10.0])
    found = ag.simulate(Spiking(current, np.zeros(5)), ts)
    period = np.log(current / (current - 1))
    exact = current * (1 - np.exp(-(ts[:, None] % period)))
    np.testing.assert_allclose(found.output, exact, rtol=1e-11)
    assert found.stats["jumps"] == np.sum(10.0 // period)
    single = ag.simulate(Spiking(jnp.float32(1.5), jnp.float32(0.0)), ts.astype(np.float32))
    assert single.output.dtype == jnp.float32
    exact = 1.5 * (1 - np.exp(-(np.array(ts) % np.log(3.0))))
    np.testing.assert_allclose(single.output, exact, rtol=1e-4)


@pytest.mark.parametrize("field", ["values", "slopes"])
def test_of_many_guards_none_is_clear_where_one_is_no_number(field):
    guards = {"values": jnp.ones((3, 1500)), "slopes": jnp.zeros((3, 1500))}
    sides, size = jnp.full(1500, True), jnp.asarray(0.1)
    assert Look(**guards).is_clear(sides, size)
    guards[field] = guards[field].at[1, 7].set(jnp.nan)
    assert not Look(**guards).is_clear(sides, size)


def test_a_guard_that_is_zero_at_rest_has_its_event_there():
    """Of a swing that is let go from rest; what rounding makes of a step there is no event."""
    swing = ag.ode(lambda t, y: (y[1], -y[0]), (1.0, 0.0))
    gone = ag.Event(lambda t, wires: 1 - wires["y_0"], name="gone")
    calculus = ag.Real(method=ag.Tsit5(), rtol=1e-7, max_steps=200, max_events=4)
    run = ag.simulate(swing, [0.0, 3.0], events=gone, calculus=calculus)
    assert int(run.events["gone"].count) == 1
    assert 0 <= run.events["gone"].times[0] < 1e-7
    close(run["y_0"][-1], np.cos(3.0), 1e-6)


def test_derivatives_go_through_an_event_right_at_the_start():
    """A step to it of the least numbers lost them: forward mode gave 0."""

    def rates(t, y, *, stiffness):
        return y[1], -stiffness * y[0] - 0.2 * jnp.abs(y[1])

    def end(stiffness):
        calculus = ag.Real(method=ag.Radau(3), rtol=1e-6, max_steps=100)
        model = ag.ode(rates, (1.0, 0.0), stiffness=stiffness)
        return ag.simulate(model, [0.0, 0.5], calculus=calculus)["y_0"][-1]

    def exact(stiffness):  # of x'' = -stiffness x + 0.2 x'
        turn = jnp.sqrt(stiffness - 0.01)
        return jnp.exp(0.05) * (jnp.cos(0.5 * turn) - 0.1 / turn * jnp.sin(0.5 * turn))

    found, expected = (jax.jvp(f, (3.0,), (1.0,)) for f in (end, exact))
    close(np.array(found), np.array(expected), 1e-5)


def test_nothing_after_an_event_whose_place_is_lost_has_derivatives(monkeypatch):
    def lost(self, system, time, state, stretch, curve):
        late = jnp.where(stretch.mark.kind >= CUT, jnp.nan, 0.0) * time
        return late, late * state

    monkeypatch.setattr(Eventful, "shift", lost)

    @ag.circuit
    def sawtooth(*, rate):
        y = ag.reset("t", 0.0)
        y.input = rate, y - 0.53, 0.0
        return {"y": y}

    def run(rate):
        return ag.simulate(sawtooth(rate=rate), [0.0, 0.25, 0.75, 0.97])["y"]

    np.testing.assert_allclose(jax.jacfwd(run)(1.0), [0.0, 0.25, np.nan, np.nan])
    for found in (jax.jacrev(run)(1.0), jax.jacfwd(jax.jacrev(run))(1.0)):
        assert np.all(np.isnan(found[2:]))
