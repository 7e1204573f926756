"""Hybrid systems of engineering and physics, each against a reference of another kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_both_modes, with_values
from scipy.linalg import expm
from scipy.optimize import brentq

import asgard as ag


@ag.circuit
def ball(*, restitution, gravity, start):
    height, speed = ag.register("t", start), ag.reset("t", 0.0)
    height.input = speed
    speed.input = -gravity, -height, -restitution * speed
    return {"height": height, "speed": speed}


def bounces(numbers, count=30):
    """The times of bounces in closed form."""
    restitution, gravity, start = numbers
    sums = (1 - restitution ** jnp.arange(count)) / (1 - restitution)
    return jnp.sqrt(2 * start / gravity) * (1 + 2 * restitution * sums)


@pytest.mark.slow
def test_thirty_bounces_and_the_slopes_of_their_times():
    def times(numbers):
        restitution, gravity, start = numbers
        found = ag.simulate(
            ball(restitution=restitution, gravity=gravity, start=start),
            [0.0, 8.25],
            events=ag.Event("height", direction=-1),
            calculus=ag.Real(max_steps=200, max_events=32),
        )
        return found.events["height"].times[:30]

    numbers = jnp.array([0.9, 9.81, 1.0])
    found, pull = jax.vjp(jax.jit(times), numbers)
    wanted, pull_wanted = jax.vjp(bounces, numbers)
    np.testing.assert_allclose(found, wanted, rtol=1e-14)
    weights = jnp.cos(jnp.arange(30.0))
    np.testing.assert_allclose(pull(weights)[0], pull_wanted(weights)[0], rtol=1e-12)


@ag.circuit
def cradle(*, masses, starts, gap):
    """Three hanging balls; a contact's impulse is held, and added to at each hit."""
    at = [ag.register("t", starts[k]) for k in range(3)]
    free = [ag.register("t", 0.0 * starts[k]) for k in range(3)]
    first, second = ag.sample_hold(0.0 * gap), ag.sample_hold(0.0 * gap)
    speeds = [
        free[0] - first / masses[0],
        free[1] + (first - second) / masses[1],
        free[2] + second / masses[2],
    ]
    gaps = [at[k] - at[k + 1] - gap for k in range(2)]
    for k in range(3):
        at[k].input, free[k].input = speeds[k], -at[k]
    for k, impulse in enumerate((first, second)):
        reduced = masses[k] * masses[k + 1] / (masses[k] + masses[k + 1])
        impulse.input = impulse + 2 * reduced * (speeds[k] - speeds[k + 1]), gaps[k]
    return {"at": jnp.stack(at), "speed": jnp.stack(speeds), "first": gaps[0], "second": gaps[1]}


def hits(masses, at, gap, end):
    """The times of hits, and who hits: from each to the next by the pendulums' closed form."""
    at, speed, time, found = np.array(at), np.zeros(3), 0.0, []
    grid = np.linspace(1e-9, 2 * np.pi, 2001)
    while True:
        waits = []
        for k in range(2):

            def apart(s, far=at[k] - at[k + 1], fast=speed[k] - speed[k + 1]):
                return far * np.cos(s) + fast * np.sin(s) - gap

            values = apart(grid)
            closing = np.flatnonzero((values[:-1] <= 0) & (values[1:] > 0))
            waits += [(brentq(apart, grid[i], grid[i + 1], xtol=1e-15), k) for i in closing[:1]]
        wait, k = min(waits)
        if time + wait > end:
            return np.array(found).T
        time += wait
        found.append((time, k))
        at, speed = (
            at * np.cos(wait) + speed * np.sin(wait),
            speed * np.cos(wait) - at * np.sin(wait),
        )
        pair = masses[k : k + 2]
        speed[k : k + 2] = 2 * (pair @ speed[k : k + 2]) / pair.sum() - speed[k : k + 2]


def test_newtons_cradle_of_unequal_balls():
    masses, starts, ts = np.array([1.0, 2.0, 3.0]), [-1.0, 0.2, 0.1], np.linspace(0, 12, 25)
    found = ag.simulate(
        cradle(masses=masses, starts=starts, gap=0.05),
        ts,
        events=(ag.Event("first", direction=1), ag.Event("second", direction=1)),
    )
    times = [np.asarray(found.events[name].times) for name in ("first", "second")]
    both = sorted((t, k) for k in range(2) for t in times[k] if np.isfinite(t))
    np.testing.assert_allclose(np.array(both).T, hits(masses, starts, 0.05, 12.0), rtol=1e-13)
    at, speed = np.asarray(found["at"]), np.asarray(found["speed"])
    np.testing.assert_allclose((at**2 + speed**2) @ masses, masses @ np.square(starts), rtol=1e-13)
    # Hits leave the total momentum alone, so the centre of mass is one pendulum.
    np.testing.assert_allclose(speed @ masses, -np.sin(ts) * (masses @ starts), atol=1e-13)


@ag.circuit
def stick_slip(*, start=0.0, belt=0.3, static=1.0, kinetic=0.6):
    """A mass on a belt, held by a spring: 1 - stuck is said at each change."""
    at, speed = ag.register("t", start), ag.register("t", belt)
    stuck = ag.sample_hold(1.0 + start)
    on = stuck > 0.5
    at.input = jnp.where(on, belt, speed)
    speed.input = jnp.where(on, 0.0, kinetic - at)
    stuck.input = 1.0 - stuck, jnp.where(on, at - static, speed - belt)
    return {"at": at, "slips": 0.5 - stuck}


@pytest.mark.slow
def test_stick_slip_on_a_belt():
    found = ag.simulate(stick_slip(), [0.0, 60.0], events=ag.Event("slips"))
    times = found.events["slips"].times[: found.events["slips"].count]
    # It slips off at 1, and an arc of the ellipse about 0.6 ends as far on the other side.
    arc = 2 * np.pi - 2 * np.arctan(0.4 / 0.3)
    starts = 1 / 0.3 + (arc + 0.8 / 0.3) * np.arange(20)
    wanted = np.sort(np.r_[starts, starts + arc])
    np.testing.assert_allclose(times, wanted[wanted < 60], rtol=1e-13)


@ag.circuit
def sampled_control(*, proportional=2.0, integral=1.5, lag=0.5, period=0.125):
    y, total, u = ag.register("t", 0.0), ag.sample_hold(0.0), ag.sample_hold(0.0)
    tick, summed = ag.Clock(period)(), total + period * (1.0 - y)
    total.input = summed, tick
    u.input = proportional * (1.0 - y) + integral * summed, tick
    y.input = (u - y) / lag
    return {"y": y, "u": u}


@pytest.mark.slow
def test_a_sampled_controller_is_its_exact_discretisation():
    found = ag.simulate(sampled_control(), np.arange(41) * 0.125)
    y, total, wanted, decay = 0.0, 0.0, [], np.exp(-0.125 / 0.5)
    for _ in range(41):
        total += 0.125 * (1.0 - y)
        u = 2.0 * (1.0 - y) + 1.5 * total
        wanted.append((y, u))
        y = decay * y + (1 - decay) * u
    np.testing.assert_allclose(found.outputs, np.array(wanted).T, atol=1e-14)
    assert found.stats["jumps"] == 41


@ag.circuit
def buck(*, supply=12.0, inductance=1e-3, capacity=1e-4, load=5.0, period=1e-4, duty=0.4):
    current, voltage = ag.register("t", 0.0), ag.register("t", 0.0)
    current.input = (supply * ag.Pulse(period, duty)() - voltage) / inductance
    voltage.input = (current - voltage / load) / capacity
    return {"current": current, "voltage": voltage}


def test_a_buck_converter_is_its_matrix_exponentials():
    found = ag.simulate(buck(), np.linspace(0, 1e-2, 101))
    rates = np.array([[0, -1e3, 1e3], [1e4, -1e4 / 5, 0], [0, 0, 0]])
    on, off = expm(rates * 0.4e-4), expm(rates * 0.6e-4)[:2, :2]
    wanted = [np.zeros(2)]
    for _ in range(100):
        wanted.append(off @ (on @ np.r_[wanted[-1], 12.0])[:2])
    np.testing.assert_allclose(found.outputs, np.array(wanted).T, atol=1e-12)


@ag.circuit
def relay_feedback(*, width=0.1):
    first, second, third = ag.register("t", 1.0), ag.register("t", 0.0), ag.register("t", 0.0)
    u = ag.relay(-width, width, -1.0, 1.0)
    u.input = -third
    first.input, second.input, third.input = u - first, first - second, second - third
    return {"off": third - width, "on": third + width}


@pytest.mark.slow
def test_the_limit_cycle_of_relay_feedback():
    found = ag.simulate(relay_feedback(), [0.0, 100.0], events=ag.Event("on", direction=-1))
    times = found.events["on"].times[: found.events["on"].count]
    rates = np.array([[-1.0, 0, 0], [1, -1, 0], [0, 1, -1]])

    def at_switch(half):
        """Where half a period with the input -1 ends in the state's mirror image."""
        flow = expm(rates * half)
        forced = np.linalg.solve(rates, (flow - np.eye(3)) @ [1.0, 0, 0])
        return np.linalg.solve(np.eye(3) + flow, forced)[2]

    period = 2 * brentq(lambda half: at_switch(half) - 0.1, 0.5, 6, xtol=1e-14)
    np.testing.assert_allclose(np.diff(times)[-4:], period, rtol=1e-12)


@ag.circuit
def neurons(*, current, constant=0.02):
    v, spikes = ag.reset("t", 0.0 * current), ag.counter(0.0 * current)
    v.input = (current - v) / constant, v - 1.0, 0.0 * v
    spikes.input = v - 1.0
    return {"v": v, "spikes": spikes}


@pytest.mark.slow
@pytest.mark.parametrize("batched", [False, True])
def test_a_hundred_neurons_fire_at_the_rate_of_the_formula(batched):
    def last(current):
        calculus = ag.Real(max_steps=3000)
        found = ag.simulate(neurons(current=current), [0.0, 0.1005], calculus=calculus)
        return found["v"][-1], found["spikes"][-1]

    current = jnp.linspace(1.05, 3.0, 100)
    period = 0.02 * jnp.log(current / (current - 1))
    v, spikes = (jax.vmap(last) if batched else last)(current)
    np.testing.assert_array_equal(spikes, 0.1005 // period)
    wanted = current * (1 - jnp.exp(-(0.1005 % period) / 0.02))
    np.testing.assert_allclose(v, wanted, atol=1e-11)


@ag.circuit
def henon_heiles(*, start):
    x, y, p, q = (ag.register("t", start[k]) for k in range(4))
    x.input, y.input = p, q
    p.input, q.input = -x - 2 * x * y, -y - x * x + y * y
    return {"x": x, "y": y, "p": p, "q": q}


@pytest.mark.slow
def test_a_poincare_section_of_henon_and_heiles():
    found = ag.simulate(
        henon_heiles(start=[0.0, 0.1, 0.4, 0.1]), [0.0, 100.0], events=ag.Event("x", direction=1)
    )
    section = found.events["x"]
    assert section.count == 16  # as SciPy's DOP853 counts, the one at the start included
    x, y, p, q = (np.asarray(section[name][:16]) for name in "xypq")
    energy = (p**2 + q**2 + x**2 + y**2) / 2 + x * x * y - y**3 / 3
    np.testing.assert_allclose(x, 0.0, atol=1e-14)
    np.testing.assert_allclose(energy, (0.4**2 + 0.1**2 + 0.1**2) / 2 - 0.1**3 / 3, rtol=1e-13)


@ag.circuit
def damped(*, gain, looped):
    """A ball whose damping z = v / 2 is said as a loop, z = z / 2 + v / 4, or as it is."""
    height, speed = ag.register("t", 1.0), ag.reset("t", 0.0)
    if looped:
        z = ag.unknown(0.1)
        z.input = 0.5 * z + 0.25 * speed
    else:
        z = 0.5 * speed
    height.input = speed
    force = jnp.where(z > -1.0, -9.81, -9.81 - gain * z)
    speed.input = force, -height, -gain * speed - 0.2 * z
    return {"height": height, "speed": speed}


@pytest.mark.slow
def test_loops_beside_branches_and_resets_have_the_derivatives_of_what_solves_them():
    def last(gain, looped):
        calculus = ag.Real(max_steps=256)
        run = ag.simulate(damped(gain=gain, looped=looped), [0.0, 1.2], calculus=calculus)
        return run["height"][-1] + run["speed"][-1]

    gains = jnp.array([0.7, 0.8])
    plain = with_values(jax.jacfwd, functools.partial(last, looped=False))
    slopes, values = jax.jit(jax.vmap(plain))(gains)
    looped = functools.partial(in_both_modes, functools.partial(last, looped=True))
    for found, expected in zip(
        jax.jit(jax.vmap(looped))(gains), (values, slopes, slopes), strict=True
    ):
        np.testing.assert_allclose(found.ravel(), expected, rtol=1e-9)
