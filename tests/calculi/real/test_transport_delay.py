"""Transport delays under Real, against closed forms and SciPy's DOP853 chained by intervals."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_both_modes, with_values
from scipy.integrate import DOP853

import asgard as ag

METHODS = {
    "taylor": ({}, 1e-12),
    "dopri8": ({"method": ag.Dopri8(), "rtol": 1e-10}, 1e-9),
    "tsit5": ({"method": ag.Tsit5(), "rtol": 1e-8}, 1e-6),
    "radau": ({"method": ag.Radau(), "rtol": 1e-8}, 1e-6),
}
ROUGH = ag.Real(method=ag.Tsit5(), rtol=1e-7)
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in METHODS if name != "taylor"]


@ag.circuit
def lagging(*, rate=1.0, lag=1.0, history=1.0, start=1.0):
    """x' = -rate x(t - lag)."""
    x = ag.register("t", start)
    x.input = -rate * ag.Delay("t", history, by=lag)(x)
    return x


def steps(numbers, t, count=12):
    """x by the method of steps: start - history Σ (-rate)^k ..., for t up to `count` delays."""
    rate, lag, history, start = numbers
    # x = start u₀ + history (u₁ terms): each pass integrates what the last one gave.
    k = jnp.arange(1, count + 1)
    factorial = jnp.cumprod(k * 1.0)
    since = jnp.maximum(t - k * lag, 0)
    own = 1 + jnp.sum((-rate * since) ** k / factorial)
    # The history acts over one delay, whose end is taken off again.
    begun = jnp.maximum(t - (k - 1) * lag, 0)
    forced = jnp.sum(((-rate * begun) ** k - (-rate * since) ** k) / factorial)
    return start * own + history * forced


TIMES = np.linspace(0.0, 5.0, 17)
NUMBERS = np.array([0.9, 0.97, 1.3, 0.8])


def lagged(numbers, calculus):
    rate, lag, history, start = numbers
    circuit = lagging(rate=rate, lag=lag, history=history, start=start)
    return ag.simulate(circuit, TIMES, calculus=calculus).output


@jax.jit
def exact(numbers):
    """The slopes by the numbers, and the values."""
    run = jax.vmap(steps, (None, 0))
    return with_values(jax.jacfwd, run)(numbers, TIMES)


def test_the_method_of_steps_and_its_slopes():
    """A history that jumps at the start, and derivatives by rate, delay, history and start."""
    run = functools.partial(lagged, calculus=ag.Real(max_steps=15))
    slopes, found = jax.jit(with_values(jax.jacfwd, run))(NUMBERS)
    exact_slopes, wanted = exact(NUMBERS)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slopes, exact_slopes, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("method", [ag.Tsit5(), ag.Taylor()], ids=["tsit5", "taylor"])
def test_gradients_of_the_method_of_steps(method):
    """By the same numbers, in reverse mode."""
    weights = np.cos(np.arange(len(TIMES)))
    rtol = 1e-8 if isinstance(method, ag.Tsit5) else None
    calculus = ag.Real(method=method, rtol=rtol, max_steps=127)
    found = jax.jit(jax.grad(lambda numbers: weights @ lagged(numbers, calculus)))(NUMBERS)
    wanted, _ = exact(NUMBERS)
    np.testing.assert_allclose(found, weights @ wanted, rtol=1e-6 if rtol else 1e-11)


def test_steps_end_where_derivatives_jump():
    """x is a polynomial between multiples of the delay, so that a step takes all of it."""
    found = ag.simulate(lagging(), np.linspace(0.0, 8.0, 27))
    assert found.stats["steps"] <= 10
    assert found.stats["rejected"] == 0


@ag.circuit
def mackey_glass(*, lag=17.0, growth=0.2, decay=0.1, history=1.2):
    x = ag.register("t", history)
    late = ag.Delay("t", history, by=lag)(x)
    x.input = growth * late / (1 + late**10) - decay * x
    return {"x": x}


def chained(field, start, lags, past, wires, breaks, ts):
    """A delay differential equation by SciPy's DOP853, from each of its breaks to the next.

    `field(t, y, late)` reads `late(k)`, which is `wires[k](s, y(s), late at s)` at s = t - lags[k],
    or `past[k](s)`.
    """
    starts, pieces = [], []
    y, rows = np.array(start, float), np.full((len(ts), len(start)), np.nan)
    rows[0] = y

    def late(t, k):
        s = t - lags[k]
        if s < 0:
            return past[k](s)
        index = max(int(np.searchsorted(starts, s, side="right")) - 1, 0)
        return wires[k](s, pieces[index](s), functools.partial(late, s))

    ends = sorted({0.0, *(b for b in breaks if 0 < b < ts[-1]), float(ts[-1])})
    for a, b in itertools.pairwise(ends):
        inside = 1e-14 * (1 + b)

        def slope(t, y, a=a + inside, b=b - inside):
            return np.array(field(t, y, functools.partial(late, min(max(t, a), b))))

        solver = DOP853(slope, a, y, b, rtol=1e-13, atol=1e-15, max_step=(b - a) / 16)
        while solver.status == "running":
            solver.step()
            dense = solver.dense_output()
            starts.append(solver.t_old)
            pieces.append(dense)
            for row in np.flatnonzero((ts > solver.t_old) & (ts <= solver.t)):
                rows[row] = dense(ts[row])
        y = solver.y
    return rows


@functools.cache
def mackey_glass_by_scipy():
    ts = np.linspace(0.0, 100.0, 41)

    def field(t, y, late):
        return [0.2 * late(0) / (1 + late(0) ** 10) - 0.1 * y[0]]

    breaks = 17.0 * np.arange(7)
    rows = chained(field, [1.2], [17.0], [lambda s: 1.2], [lambda s, y, late: y[0]], breaks, ts)
    return ts, rows[:, 0]


@pytest.mark.parametrize("method", ["taylor", *OTHERS])
def test_mackey_glass(method):
    options, tolerance = METHODS[method]
    ts, wanted = mackey_glass_by_scipy()
    found = ag.simulate(mackey_glass(), ts, calculus=ag.Real(**options))
    np.testing.assert_allclose(found["x"], wanted, rtol=tolerance)
    assert found.stats["steps"] < 300


@ag.circuit
def network(drive):
    """Delays of wires that are no registers', one of another, and histories that change."""
    x = ag.register("t", jnp.array([1.0, 0.5]))
    both = ag.Delay("t", jnp.array([0.2, 0.1]), by=0.7)(x)
    product = ag.Delay("t", lambda s: 0.5 * jnp.exp(s), by=1.3)(both[0] * x[1] + drive)
    twice = ag.Delay("t", ag.Stream([0.1, 0.2], "t"), by=0.4)(product)
    x.input = -x + jnp.stack([jnp.sin(both[1]) + product, twice * both[0]])
    return {"x": x, "twice": twice}


@functools.cache
def network_by_scipy():
    ts, lags = np.linspace(0.0, 5.0, 26), [0.7, 0.7, 1.3, 0.4]
    breaks, level = {0.0}, {0.0}
    for _ in range(10):
        level = {round(b + lag, 12) for b in level for lag in lags if b + lag < 5}
        breaks |= level
    rows = chained(
        lambda t, y, late: [-y[0] + np.sin(late(1)) + late(2), -y[1] + late(3) * late(0)],
        [1.0, 0.5],
        lags,
        [lambda s: 0.2, lambda s: 0.1, lambda s: 0.5 * np.exp(s), lambda s: 0.1 + 0.2 * s],
        [
            lambda s, y, late: y[0],
            lambda s, y, late: y[1],
            lambda s, y, late: late(0) * y[1] + np.cos(3 * s),
            lambda s, y, late: late(2),
        ],
        breaks,
        ts,
    )
    return ts, rows


def drive(t):
    return jnp.cos(3 * t)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_delays_of_wires_of_each_other_and_of_functions(method):
    options, tolerance = METHODS[method]
    ts, wanted = network_by_scipy()
    found = ag.simulate(network(), ts, inputs=(drive,), calculus=ag.Real(**options))
    np.testing.assert_allclose(found["x"], wanted, rtol=tolerance, atol=tolerance)
    # What it gives at the time of a jump is the value after it.
    early = ts < 0.4 - 1e-9
    np.testing.assert_allclose(found["twice"][early], 0.1 + 0.2 * (ts[early] - 0.4), rtol=1e-13)


def cosine(angle, s):
    return jnp.cos(angle * s)


@pytest.mark.slow
def test_a_late_control_loop_at_the_edge_of_stability_oscillates_for_ever():
    """x' = -k x(t - d) with k d = π / 2: an integrator under control, whose history is a cosine."""

    def run(lag):
        gain = jnp.pi / 2 / lag
        history = jax.tree_util.Partial(cosine, gain)
        late = ag.Delay("t", history, by=lag) >> ag.Scalar(-gain)
        loop = (late >> ag.Register("t", 1.0) >> ag.Split()).trace()
        return ag.simulate(loop, ts, calculus=ag.Real(max_steps=256)).output

    ts = np.linspace(0.0, 20.0, 33)
    found, slope = jax.jit(lambda lag: jax.jvp(run, (lag,), (jnp.ones_like(lag),)))(0.8)
    angle = np.pi / 2 / 0.8
    np.testing.assert_allclose(found, np.cos(angle * ts), atol=1e-13)
    np.testing.assert_allclose(slope, np.sin(angle * ts) * ts * angle / 0.8, atol=2e-12)


@ag.circuit
def room(*, rate, lag, start):
    """A heater that is switched by what the temperature was before."""
    x, heating = ag.register("t", start), ag.relay(-21.0, -19.0)
    heating.input = -ag.Delay("t", 20.0, by=lag)(x)
    x.input = rate * (10.0 + 20.0 * heating - x)
    return x


def temperatures(numbers, ts):
    """The same in closed form, from each switch to the next."""
    rate, lag, x = numbers
    rows, time, target = np.zeros(len(ts)), 0.0, 10.0
    while time < ts[-1]:
        bound = 19.0 if target == 10.0 else 21.0
        switch = time + np.log((x - target) / (bound - target)) / rate + lag
        inside = (ts >= time) & (ts <= switch)
        rows[inside] = target + (x - target) * np.exp(-rate * (ts[inside] - time))
        x = target + (x - target) * np.exp(-rate * (switch - time))
        time, target = switch, 40.0 - target
    return rows


def switched(numbers, ts):
    rate, lag, start = numbers
    circuit = room(rate=rate, lag=lag, start=start)
    return ag.simulate(circuit, ts, calculus=ag.Real(max_steps=256)).output


@pytest.mark.slow
def test_events_by_a_delayed_wire():
    ts, numbers = np.linspace(0.0, 5.0, 24), np.array([0.5, 0.3, 20.0])
    rate, lag, start = numbers
    circuit = room(rate=rate, lag=lag, start=start)
    run = ag.simulate(circuit, ts, calculus=ag.Real(dense=True, max_steps=256))
    for found in (run.output, run.evaluate(ts).output):
        np.testing.assert_allclose(found, temperatures(numbers, ts), rtol=1e-13)


@pytest.mark.slow
def test_derivatives_across_events_by_a_delayed_wire():
    """A saved time may be one that moves with the delay, as 1.2, the fourth multiple."""
    ts, numbers = np.linspace(0.0, 4.8, 25), np.array([0.5, 0.3, 20.0])
    run = functools.partial(switched, ts=ts)
    slopes, values = jax.jit(with_values(jax.jacfwd, run))(numbers)
    np.testing.assert_allclose(values, temperatures(numbers, ts), rtol=1e-13)
    moves = 1e-5 * np.eye(3)
    wanted = [(temperatures(numbers + d, ts) - temperatures(numbers - d, ts)) / 2e-5 for d in moves]
    np.testing.assert_allclose(slopes.T, wanted, rtol=1e-6, atol=1e-6)


def test_a_run_goes_on_from_its_history():
    before, after = np.linspace(0.0, 30.0, 13), np.linspace(30.0, 60.0, 13)
    whole = ag.simulate(mackey_glass(), np.append(0.0, after[1:]), calculus=ROUGH)
    first = ag.simulate(mackey_glass(), before, calculus=ROUGH)
    rest = ag.simulate(mackey_glass(), after, state=first.state, calculus=ROUGH)
    np.testing.assert_array_equal(rest["x"][1:], whole["x"][1:])
    # Other parameters hold from there on, and the history stays: that of the first run.
    changed = ag.simulate(mackey_glass(growth=0.0), after, state=first.state, calculus=ROUGH)
    decayed = first["x"][-1] * np.exp(-0.1 * (after - 30.0))
    np.testing.assert_allclose(changed["x"], decayed, rtol=1e-6)
    # Polynomials of one degree may have other powers.
    other = ag.Real(method=ag.Taylor(4), rtol=1e-7)
    with pytest.raises(ag.CircuitError, match="the same delays and method"):
        ag.simulate(mackey_glass(), after, state=first.state, calculus=other)


@ag.circuit
def delayed_gain(*, gain=1.0):
    """x' = -(gain x)(t - 1): what goes into the delay is no register's."""
    x, late = ag.register("t", 1.0), ag.delay("t", 1.0, by=1.0)
    late.input = gain * x
    x.input = -late
    return x


@pytest.mark.slow
@pytest.mark.parametrize("name", ["taylor", "tsit5"])
def test_what_went_into_a_delay_before_other_parameters_stays(name):
    options, tolerance = METHODS[name]
    calculus = ag.Real(**options)
    before, after = [0.0, 0.7, 2.3], [2.3, 3.0, 4.1]

    def run(ts, state, gain):
        found = ag.simulate(delayed_gain(gain=gain), ts, calculus=calculus, state=state)
        return found.output, found.state

    _, state = run(before, None, 1.0)
    same, _ = run(after, state, 1.0)
    numbers = jnp.ones(4)
    exact = [steps(numbers, t) for t in (*after, 3.3)]
    np.testing.assert_allclose(same, exact[:3], atol=tolerance)
    more, _ = run(after, state, 3.0)
    # From 3.3 on the delay gives three times x; until then it gives x.
    nodes, weights = np.polynomial.legendre.leggauss(8)
    area = sum(
        (b - a)
        / 2
        * np.dot(weights, [steps(numbers, (a + b) / 2 + (b - a) / 2 * n) for n in nodes])
        for a, b in ((2.3, 3.0), (3.0, 3.1))
    )
    np.testing.assert_allclose(more, [*exact[:2], exact[3] - 3 * area], atol=tolerance)


@pytest.mark.slow
def test_batches_of_delays_are_their_runs():
    lags, ts = jnp.array([9.0, 14.0]), np.linspace(0.0, 30.0, 3)
    calculus = ag.Real(max_steps=256, method=ag.Tsit5(), rtol=1e-6)

    def last(lag):
        return ag.simulate(mackey_glass(lag=lag), ts, calculus=calculus)["x"][-1]

    batch = jax.jit(jax.vmap(functools.partial(in_both_modes, last)))(lags)
    values, forward, reverse = (found.ravel() for found in batch)
    single = jax.jit(with_values(jax.jacfwd, last))
    for found, lag in zip(zip(reverse, values, strict=True), lags, strict=True):
        np.testing.assert_allclose(found, single(lag), rtol=1e-12)
    np.testing.assert_allclose(forward, reverse, rtol=1e-12)


@pytest.mark.slow
def test_float32():
    ts, wanted = mackey_glass_by_scipy()
    circuit = jax.tree.map(lambda x: x.astype(jnp.float32), mackey_glass())
    found = ag.simulate(circuit, ts[:20].astype(np.float32))["x"]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted[:20], rtol=1e-5)


def test_what_is_no_longer_held_or_not_yet_known_is_a_status():
    ts, few = np.linspace(0.0, 60.0, 13), ag.Real(method=ag.Tsit5(), rtol=1e-7, max_history=8)
    short = ag.simulate(mackey_glass(), ts, calculus=few, throw=False)
    assert short.status == ag.Status.history
    known = np.isfinite(short["x"])
    assert known[0]
    assert not known[-1]

    @jax.jit
    def run(lag, ts):
        return ag.simulate(mackey_glass(lag=lag), ts, calculus=ROUGH, throw=False)

    assert run(-1.0, ts).status == ag.Status.delay
    assert np.all(np.isnan(run(-1.0, ts)["x"]))
    assert run(1.0, ts[::-1]).status == ag.Status.delay


X = ag.Register("t", 1.0) >> ag.Split()
UNIT = ag.Delay("t", 1.0)
LATE = ag.Delay("t", 1.0, by=1.0)
ERRORS = {
    "negative": (lambda: ag.Delay("t", 1.0, by=-1.0), "by must be above 0"),
    "zero": (lambda: ag.Delay("t", 1.0, by=0), "by must be above 0"),
    "infinite": (lambda: ag.Delay("t", 1.0, by=np.inf), "by must be above 0"),
    "complex": (lambda: ag.Delay("t", 1.0, by=1j), "one real number"),
    "several": (lambda: ag.Delay("t", 1.0, by=[1.0, 2.0]), "one real number"),
    "negative, constrained": (lambda: ag.Delay("t", 1.0, by=ag.Fixed(-1.0)), "above 0"),
    "a history of samples": (lambda: ag.Delay("t", jnp.cos), "give it, by="),
    "a history along another dimension": (
        lambda: ag.Delay("t", ag.Stream([1.0, 2.0], "x"), by=1.0),
        "a stream along t alone",
    ),
    "a unit delay": (lambda: ag.simulate((UNIT >> X).trace(), [0.0, 1.0]), "a unit delay has no"),
    "a derivative": (
        lambda: ag.simulate((ag.Deregister("t") >> LATE >> X).trace(), [0.0, 1.0]),
        "neutral",
    ),
    "a wire of its own": (
        lambda: ag.simulate(
            (ag.Add() >> LATE >> ag.Split()).trace() >> X, [0.0, 1.0], inputs=(1.0,)
        ),
        "a neutral equation",
    ),
    "a loop without registers": (
        lambda: ag.simulate((ag.Cos() >> ag.Split()).trace() >> LATE >> X, [0.0, 1.0]),
        "in a loop without registers",
    ),
    "no register": (lambda: ag.simulate(LATE, [0.0, 1.0], inputs=(1.0,)), "has no register"),
    "a series": (lambda: ag.series((LATE >> X).trace(), order=3), "is no series"),
    "a vector field": (lambda: ag.vector_field((LATE >> X).trace()), "is no series"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    run, message = ERRORS[case]
    with pytest.raises(ag.CircuitError, match=message):
        run()


def test_text():
    assert str(ag.parse("delay(t, 1.0, 2.0)")) == "delay(t, 1.0, 2.0)"
    assert str(ag.Delay("t", 1.0, by=2.0)) == "delay(t, 1.0, 2.0)"


@pytest.mark.slow
def test_what_branches_on_the_state_goes_into_a_delay():
    """w' is z(t - 0.3), and z = x = t from x = 0.5 on, before that 0."""

    @ag.circuit
    def switched():
        x, w = ag.register("t", 0.0), ag.register("t", 0.0)
        late = ag.delay("t", 0.0, by=0.3)
        late.input = jnp.where(x > 0.5, x, 0.0)
        x.input, w.input = 1.0 + 0 * x, late
        return w

    ts = np.array([0.0, 0.79, 0.81, 2.0])
    run = ag.simulate(switched(), ts)
    expected = np.maximum((ts - 0.3) ** 2 - 0.25, 0) / 2 * (ts > 0.8)
    np.testing.assert_allclose(run.output, expected, atol=1e-13)
