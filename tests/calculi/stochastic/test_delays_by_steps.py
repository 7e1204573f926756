"""Delays under Stochastic: against plain loops with the same noise, means and closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

KEY = jax.random.key(3)
H, STEPS = 0.1, 30
INCREMENTS = np.sqrt(H) * np.random.default_rng(1).normal(size=(2, STEPS))


@ag.circuit
def lagging(*, rate=1.0, lag=0.5, other=0.2, spread=0.3):
    """dx = -rate x(t - lag) dt + spread x(t - other) dW, with the history cos t for the drift."""
    drift, noise = ag.register("t", 1.0), ag.stochastic_register("t", "W")
    x = drift + noise
    late, later = ag.delay("t", jnp.cos, by=lag), ag.delay("t", 0.5, by=other)
    late.input, later.input = x, x
    drift.input, noise.input = -rate * late, spread * later
    return {"x": x, "late": late, "later": later}


def looped(increments, rate=1.0, lag=5, other=2, spread=0.3):
    """The same by Euler's method in NumPy: x, and what the delays give, at all steps."""
    x, late, later = [1.0], [], []
    for n in range(len(increments) + 1):
        late.append(x[n - lag] if n >= lag else np.cos((n - lag) * H))
        later.append(x[n - other] if n >= other else 0.5)
        if n < len(increments):
            x.append(x[n] - rate * late[n] * H + spread * later[n] * increments[n])
    return np.array([x, late, later])


def given(increments, steps=5, **options):
    return ag.Stochastic(steps=steps, noise={"W": increments}, **options)


def test_paths_with_delays_are_their_loop_and_go_on():
    ts = np.linspace(0, 3, 7)
    expected = np.stack([looped(row)[:, ::5] for row in INCREMENTS], axis=1)

    def paths(ts, increments, state=None):
        calculus = given(increments)
        return ag.ensemble(lagging(), ts, calculus=calculus, paths=2, tile=2, state=state)

    whole, first = paths(ts, INCREMENTS), paths(ts[:4], INCREMENTS[:, :15])
    second = paths(ts[3:], INCREMENTS[:, 15:], first.state)
    for name, values in zip(("x", "late", "later"), expected, strict=True):
        np.testing.assert_allclose(whole[name], values, atol=1e-14)
        np.testing.assert_allclose(second[name], values[:, 3:], atol=1e-14)


@pytest.mark.slow
def test_gradients_batches_and_traced_delays_are_those_of_the_loop():
    def end(rate, lag):
        calculus = given(INCREMENTS[0], STEPS, max_delay=8)
        found = ag.simulate(lagging(rate=rate, lag=lag), [0.0, 3.0], calculus=calculus)
        return found["x"][-1]

    rates, lags = jnp.array([1.0, 1.4, 1.0]), jnp.array([0.5, 0.7, 0.55])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(end)))(rates, lags)
    for k, lag in enumerate((5, 7)):
        rate, step = float(rates[k]), 1e-6
        up, down = (looped(INCREMENTS[0], r, lag)[0, -1] for r in (rate + step, rate - step))
        np.testing.assert_allclose(values[k], looped(INCREMENTS[0], rate, lag)[0, -1], atol=1e-14)
        np.testing.assert_allclose(slopes[k], (up - down) / (2 * step), rtol=1e-8)
    assert np.isnan(values[2])  # 5.5 steps


@pytest.mark.slow
def test_the_mean_of_many_paths_is_the_run_without_noise():
    ts, reduce = np.linspace(0, 3, 4), ag.statistics.Mean(of=lambda x, *_: x)
    calculus = ag.Stochastic(steps=20)
    options = {"calculus": calculus, "key": KEY, "reduce": reduce}
    mean = ag.ensemble(lagging(), ts, paths=4000, **options).statistics
    alone = ag.simulate(lagging(), ts, calculus=ag.Stochastic(steps=20, noise="off"))
    # The spread of x is below 0.4, so that of the mean is below 0.007.
    np.testing.assert_allclose(mean, alone["x"], atol=0.025)


def test_heun_without_noise_is_exact_where_what_a_delay_gives_is_linear():
    stratonovich = ag.Stochastic(steps=20, interpretation="stratonovich", method="heun")
    calculus = dataclasses.replace(stratonovich, noise="off")
    # x' = -x(t - 1) with the history 1: x = 1 - t to 1, then of second degree, -1/2 at 2.
    run = ag.simulate(delayed(), [0.0, 1.0, 2.0], calculus=calculus)
    np.testing.assert_allclose(run.output, [1, 0, -0.5], atol=1e-14)


def delayed(lag=1.0):
    late = ag.Delay("t", 1.0, by=lag) >> ag.Scalar(-1.0)
    return (late >> ag.Register("t", 1.0) >> ag.Split()).trace()


def run(calculus=None, ts=(0.0, 1.0), circuit=None):
    calculus = ag.Stochastic(steps=10) if calculus is None else calculus
    circuit = lagging() if circuit is None else circuit
    return ag.simulate(circuit, ts, calculus=calculus, key=KEY)


WRONG = {
    "half a step": (lambda: run(circuit=lagging(lag=0.55)), "by is 5.5 steps of 0.1"),
    "uneven steps": (lambda: run(ts=(0.0, 1.0, 3.0)), "not of one size"),
    "one time": (lambda: run(ts=(0.0,)), "two times or more"),
    "too long": (lambda: run(ag.Stochastic(steps=10, max_delay=4)), "a delay takes 5 steps"),
    "no room": (lambda: ag.Stochastic(steps=10, max_delay=0), "max_delay"),
    "back": (lambda: run(ag.Stochastic(steps=10, noise="off"), (1.0, 0.0)), "which increase"),
    "milstein": (lambda: run(ag.Stochastic(steps=10, method="milstein")), "what a delay gives"),
    "weak2": (lambda: run(ag.Stochastic(steps=10, method="weak2")), "weak order 2"),
    "additive": (lambda: run(ag.Stochastic(steps=10, method="additive")), "strong order 1.5"),
    "a traced delay": (
        lambda: jax.jit(lambda lag: run(circuit=lagging(lag=lag))["x"])(0.5),
        "Stochastic.max_delay=",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_whole_number_of_steps_is_refused(name):
    call, words = WRONG[name]
    with pytest.raises(ag.CircuitError, match=words):
        call()


def test_a_state_of_other_steps_ends_the_run():
    first = run(ag.Stochastic(steps=10, noise="off", max_delay=20), circuit=delayed())
    other = ag.Stochastic(steps=20, noise="off", max_delay=20)
    found = ag.simulate(delayed(), [1.0, 2.0], calculus=other, state=first.state, throw=False)
    assert found.status == ag.Status.nonfinite
