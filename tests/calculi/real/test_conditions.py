"""Guards of pieces, whose conditions turn fast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import asgard as ag
from asgard.calculi.real.conditions import Conditions
from asgard.calculi.real.system import EventLayout
from asgard.jaxprs.program import trace

END, MIDDLE = 20.0, 9.05
METHODS = {
    "Tsit5": {"method": ag.Tsit5(), "rtol": 1e-4, "atol": 1e-4},
    "Dopri8": {"method": ag.Dopri8(), "rtol": 1e-9, "atol": 1e-9},
}


def pieces(t, y, held, k, level, np=jnp):
    """Guards of pieces along y = t: above zero in short pieces, or turned by a condition."""
    wave = np.sin(k * y) - level
    return [
        np.where(np.sin(k * t) > level + 0.02 * held, y + 1, -y - 2),
        np.where(np.where(wave > 0, y, -y) > MIDDLE, np.sin(7 * y), -1.0),
        0.3 - np.abs(wave + 0.1 * y),
        np.clip(9 * wave, -1.0, 1.0) - 0.5,
        np.mod(0.3 * k * y + 0.1, 1.0) - 0.95,
        np.max(np.stack([wave, np.sin(3 * y) - 0.99]), axis=0),
    ]


QUICK, SLOW = (0, 1), (2, 3, 4, 5)


def watched(method, numbers):
    """When one of some guards rises, of weights, k and level."""

    @ag.circuit
    def circuit():
        y, held = ag.register("t", 0.0), ag.counter()
        y.input, held.input = 1.0, y - MIDDLE
        return {"y": y, "held": held}

    def run(weights, k, level):
        def guard(t, wires):
            rows = pieces(t, wires["y"], wires["held"], k, level)
            return jnp.sum(weights * jnp.stack([rows[number] for number in numbers]))

        event = ag.Event(guard, direction=1, name="guard")
        real = ag.Real(max_events=1000, **METHODS[method])
        found = ag.simulate(circuit(), [0.0, END], events=event, calculus=real, throw=False)
        return found.events["guard"].times, found.events["guard"].count, found.status

    return run


def rises(number, k, level):
    """When a guard rises past zero, by its values at many times."""

    def is_above(t):
        return np.asarray(pieces(t, t, 1.0 * (t > MIDDLE), k, level, np=np)[number] > 0)

    ts = np.linspace(0.0, END, 200_001)
    above = is_above(ts)
    (left,) = np.nonzero(above[1:] & ~above[:-1])
    low, high = ts[left], ts[left + 1]
    for _ in range(30):
        middle = low + (high - low) / 2
        past = is_above(middle)
        low, high = np.where(past, low, middle), np.where(past, middle, high)
    return high


def check(found, number, k, level):
    times, count, status = found
    exact = rises(number, k, level)
    assert status == ag.Status.ok, (number, k)
    assert count == len(exact), (number, k)
    np.testing.assert_allclose(times[:count], exact, atol=1e-9)


def test_no_piece_of_a_guard_is_stepped_over():
    run = jax.jit(watched("Tsit5", QUICK))
    for number, weights in zip(QUICK, np.eye(len(QUICK)), strict=True):
        check(run(weights, 37.0, 0.97), number, 37.0, 0.97)


@pytest.mark.slow
def test_no_piece_of_a_guard_is_stepped_over_in_lanes():
    run = jax.jit(jax.vmap(watched("Dopri8", SLOW), (None, 0, 0)))
    rng = np.random.default_rng(0)
    for number, weights in zip(SLOW, np.eye(len(SLOW)), strict=True):
        ks, levels = np.exp(rng.uniform(0, np.log(150), 2)), rng.uniform(0.3, 0.98, 2)
        found = run(weights, ks, levels)
        for lane, (k, level) in enumerate(zip(ks, levels, strict=True)):
            check(jax.tree.map(lambda x, lane=lane: x[lane], found), number, k, level)


@pytest.mark.slow
def test_the_event_of_a_guard_that_jumps_moves_with_its_condition():
    def exact(a):
        return np.arcsin(np.sqrt(a))

    @ag.circuit
    def circuit(*, a):
        x, v = ag.register("t", 0.0), ag.register("t", 1.0)
        x.input, v.input = v, -x
        return {"x": x, "a": a + 0.0 * x}

    def time(a):
        def guard(t, wires):
            x = wires["x"]
            return jnp.where(x * x > wires["a"], x - 0.1, x - 2)

        event = ag.Event(guard, direction=1, name="guard")
        real = ag.Real(max_events=4, max_steps=100)
        found = ag.simulate(circuit(a=a), [0.0, 1.5], events=event, calculus=real)
        return found.events["guard"].times[0]

    a, step = 0.3, 1e-5
    found, slope = jax.jit(lambda a: jax.jvp(time, (a,), (1.0,)))(a)
    np.testing.assert_allclose(found, exact(a), rtol=1e-12)
    expected = (exact(a + step) - exact(a - step)) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-8)


def test_a_step_on_which_a_search_gives_up_is_taken_again():
    @ag.circuit
    def circuit():
        x, v, t = ag.register("t", 0.2), ag.register("t", 0.9), ag.register("t", 0.0)
        x.input, v.input, t.input = 0.3 * v, -0.3 * x, 1.0
        return {"x": x, "guard": jnp.sin(1000 * t) - 1.5}

    real = ag.Real(method=ag.Tsit5(), rtol=1e-3, atol=1e-3)
    run = ag.simulate(circuit(), [0.0, 10.0], events=ag.Event("guard"), calculus=real)
    np.testing.assert_allclose(run["x"][-1], 0.2 * np.cos(3) + 0.9 * np.sin(3), atol=1e-4)


def _twice(t, x):
    return jnp.where(x > t, 1.0, x) + jnp.where(x > t, t, 2.0)


# A guard of t and y, whose second entry only jumps; and its conditions at t = 0.3, y = (0.7, 2.0).
CONDITIONS = {
    "a comparison": (lambda t, y: jnp.where(y[0] * t > 0.2, 1.0, -1.0), [0.01]),
    "one with what only jumps": (lambda t, y: jnp.where(jnp.sin(t) > y[1], 1.0, -1.0), [-1.704480]),
    "the same twice": (lambda t, y: _twice(t, y[0]), [0.4]),
    "an extreme of two": (lambda t, y: jnp.maximum(y[0], 2 * t), [0.1]),
    "one of three": (lambda t, y: jnp.max(jnp.stack([y[0], t, 1 - t])), [-0.4, 0.0]),
    "a size": (lambda t, y: jnp.abs(y[0] - 1), [-0.3]),
    "bounds": (lambda t, y: lax.clamp(t, y[0], 1.0), [0.4, -0.3]),
    "whole numbers": (lambda t, y: jnp.floor(5 * y[0]), [-1.0]),
    "a branch in a branch": (
        lambda t, y: lax.cond(y[0] > t, lambda: jnp.abs(y[0] - t), lambda: y[0]),
        [0.4, 0.4],
    ),
    "time alone": (lambda t, y: jnp.where(jnp.sin(t) > 0.5, y[0], -y[0]), None),
    "what only jumps": (lambda t, y: jnp.where(y[1] > 0.5, y[0], -y[0]), None),
    "nothing": (lambda t, y: y[0] * y[0] - t, None),
    "too many": (lambda t, y: jnp.sum(jnp.abs(y[0] - jnp.arange(100.0))), None),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_are_what_a_guard_compares(name):
    guard, expected = CONDITIONS[name]
    no, held = np.zeros(1, bool), np.array([False, True])
    layout = EventLayout(np.full(2, -1), np.zeros(2, bool), held, no, no, ~no, no, most=1)
    types = jax.ShapeDtypeStruct((), float), jax.ShapeDtypeStruct((2,), float)
    program = trace(lambda t, y: (guard(t, y)[None],), *types)
    found = Conditions.of(program, layout)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        values = found.beside_guards(jnp.array(0.3), jnp.array([0.7, 2.0]))
        assert found.count == len(expected)
        np.testing.assert_allclose(values[1:], expected, atol=1e-6)
