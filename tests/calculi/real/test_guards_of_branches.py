"""Guards that read branches which are held, some of which end at one time, against their signs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

END = 10.0
METHODS = {
    "Taylor": {"method": ag.Taylor()},
    "Tsit5": {"method": ag.Tsit5(), "rtol": 1e-7, "atol": 1e-7},
    "Dopri8": {"method": ag.Dopri8(), "rtol": 1e-10, "atol": 1e-10},
    "Radau": {"method": ag.Radau(), "rtol": 1e-9, "atol": 1e-9},
}


def guards(x, k, level, np=jnp):
    """At whole k x a modulus and a size turn together, and two floors do by rounding."""
    return [
        np.mod(k * x, 1.0) - 0.7,
        0.3 - np.abs(np.mod(k * x + 0.3, 2.0) - 1.0),
        np.floor(k * x) - 2 * np.floor(0.5 * k * x) - 0.5,
        np.sign(x - 0.2 * level) * np.round(k * x) - 1.5 * level,
    ]


def watched(method):
    """How often one of the guards passes zero upward, downward and either way along an oscillation
    of frequency w, and what a counter says; in a run whose rates ask for some of the branches."""
    real = ag.Real(max_events=1000, max_steps=8000, **METHODS[method])

    @ag.circuit
    def circuit(*, weights, k, level, w):
        x, v = ag.register("t", 1.0), ag.register("t", 0.3 * w)
        above, modulus, counter = ag.register("t", 0.0), ag.register("t", 0.0), ag.counter()
        x.input, v.input = v, -w * w * x
        above.input = jnp.where(x > level - 0.5, 1.0, -1.0)
        modulus.input = jnp.mod(k * x, 1.0)
        rows = guards(x, k, level)
        guard = sum(weight * row for weight, row in zip(weights, rows, strict=True))
        counter.input = guard
        return {"guard": guard, "above": above, "modulus": modulus, "counter": counter}

    def run(*, weights, k, level, w):
        events = [ag.Event("guard", direction=way, name=str(way)) for way in (1, -1, 0)]
        given = {"weights": tuple(weights), "k": k, "level": level, "w": w}
        found = ag.simulate(circuit(**given), [0.0, END], calculus=real, events=events, throw=False)
        times = [found.events[event.name] for event in events]
        last = {name: found[name][-1] for name in ("counter", "above", "modulus")}
        return times, last, found.status

    return jax.jit(run)


def check(run, number, k, level, w):
    t = np.linspace(0.0, END, 1_000_001)
    x = np.cos(w * t) + 0.3 * np.sin(w * t)
    above = np.asarray(guards(x, k, level, np)[number]) > 0
    up = t[1:][above[1:] & ~above[:-1]]
    down = t[1:][~above[1:] & above[:-1]]
    weights = np.eye(len(guards(0.0, k, level)))[number]
    times, last, status = run(weights=weights, k=k, level=level, w=w)
    assert status == ag.Status.ok
    for found, expected in zip(times, (up, down, np.sort([*up, *down])), strict=True):
        assert found.count == len(expected)
        np.testing.assert_allclose(found.times[: len(expected)], expected, atol=5e-5)
    assert last["counter"] == len(up)
    expected = np.mean(np.where(x > level - 0.5, 1.0, -1.0)), np.mean(np.mod(k * x, 1.0))
    found = last["above"] / END, last["modulus"] / END
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_guards_wait_for_the_branches_that_they_read():
    run = watched("Tsit5")
    for number, k in enumerate((8.727, 1.338, 4.9, 7.3)):
        check(run, number, k, 0.4, 0.8)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_guards_drawn_at_random_wait_for_branches(method):
    run, rng = watched(method), np.random.default_rng(0)
    for number in range(len(guards(0.0, 1.0, 0.5))):
        for _ in range(8):
            k, level = np.exp(rng.uniform(0, np.log(30))), rng.uniform(0.2, 0.95)
            check(run, number, k, level, rng.uniform(0.5, 4))
