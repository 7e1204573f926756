"""Fits of circuits with noise and of sequences, and gradients in every calculus."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import slow

import asgard as ag


class OrnsteinUhlenbeck(ag.Block):
    """dx = rate (mean - x) dt + deviation dW from x = 0."""

    rate: jax.Array
    mean: jax.Array
    deviation: jax.Array

    def circuit(self):
        drift = (ag.Scalar(-1.0) @ ag.Const(self.mean)) >> ag.Add() >> ag.Scalar(self.rate)
        noise = ag.Const(self.deviation) >> ag.StochasticRegister("t", "W")
        parts = (drift >> ag.Register("t", 0.0)) @ noise
        return (parts >> ag.Add() >> ag.Split()).trace()


@pytest.mark.slow
def test_an_ornstein_uhlenbeck_process_is_found_by_maximum_likelihood():
    truth = {"rate": 1.2, "mean": 0.7, "deviation": 0.5}
    ts = jnp.linspace(0.0, 10.0, 101)
    options = {"calculus": ag.Stochastic(steps=20), "key": jax.random.key(0), "tile": 64}
    paths = ag.ensemble(OrnsteinUhlenbeck(**truth), ts, paths=64, **options).output
    gap = 0.1

    def minus_log_likelihood(circuit, paths):
        rate, mean, deviation = ag.parameters(circuit).values()
        kept = jnp.exp(-rate * gap)
        variance = deviation**2 * (1 - kept**2) / (2 * rate)
        miss = paths[:, 1:] - mean - (paths[:, :-1] - mean) * kept
        return 0.5 * jnp.mean(miss**2 / variance + jnp.log(variance))

    start = OrnsteinUhlenbeck(ag.Positive(0.3), -1.0, ag.Positive(2.0))
    found = ag.fit(
        start, minus_log_likelihood, args=(paths,), optimizer=optax.lbfgs(), steps=100, tol=1e-10
    )
    assert found.status == ag.FitStatus.converged
    # The maximum in closed form: a regression of each value on the one before.
    before, after = np.asarray(paths[:, :-1]).ravel(), np.asarray(paths[:, 1:]).ravel()
    kept, offset = np.polyfit(before, after, 1)
    rate = -np.log(kept) / gap
    variance = np.mean((after - kept * before - offset) ** 2)
    exact = {
        "rate": rate,
        "mean": offset / (1 - kept),
        "deviation": np.sqrt(variance * 2 * rate / (1 - kept**2)),
    }
    # Four standard errors of what 64 paths over 10 units of time tell, and Euler's bias of the
    # order of a step, 0.005.
    time, points = 640, 6400
    errors = {
        "rate": np.sqrt(2 * truth["rate"] / time),
        "mean": truth["deviation"] / truth["rate"] / np.sqrt(time),
        "deviation": truth["deviation"] / np.sqrt(2 * points),
    }
    for name, value in ag.parameters(found.circuit).items():
        np.testing.assert_allclose(value, exact[name], rtol=1e-6)
        assert abs(value - truth[name]) < 4 * errors[name] + 0.005 * truth[name]


@pytest.mark.slow
def test_a_drift_is_found_by_gradients_through_paths():
    # The mean of x = exp((drift - s^2/2) t + s W) is exp(drift t).
    noise = ag.Scalar(ag.Fixed(0.2)) >> ag.StochasticRegister("t", "W")
    drift = ag.Scalar(-0.3) >> ag.Register("t", ag.Fixed(1.0))
    circuit = (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace()
    ts = jnp.linspace(0.0, 1.0, 5)
    means = jnp.exp(0.4 * ts)

    def loss(circuit, means, key):
        options = {"calculus": ag.Stochastic(steps=8), "tile": 128}
        reduced = ag.ensemble(
            circuit, ts, paths=128, key=key, reduce=ag.statistics.Mean(), **options
        )
        return jnp.mean((reduced.statistics - means) ** 2)

    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 300))
    options = {"args": (means,), "optimizer": optimizer, "steps": 300}
    found = ag.fit(circuit, loss, key=jax.random.key(4), **options)
    (factor,) = [
        value for name, value in ag.parameters(found.circuit).items() if name == "scalar[0].factor"
    ]
    # Euler's mean is (1 + h drift)^n. Each step sees means good to 0.2 e^0.4 / sqrt(128), which
    # move with the drift as t e^0.4 does, and the last hundred steps average that.
    exact = 32 * np.expm1(0.4 / 32)
    np.testing.assert_allclose(factor, exact, atol=4 * 0.2 / np.sqrt(128) / np.sqrt(100))


def test_a_sequence_is_fitted():
    # x[n+1] = x[n] + rate x[n] (1 - x[n]): the logistic map as a running sum.
    def growth(rate, start):
        gain = ag.Split() >> (ag.Id() @ ag.Power(2) >> ag.Id() @ ag.Scalar(-1.0)) >> ag.Add()
        return (gain >> ag.Scalar(rate) >> ag.Register("t", start) >> ag.Split()).trace()

    ts = jnp.arange(12.0)
    data = [0.05]
    for _ in range(11):
        data.append(data[-1] + 0.8 * data[-1] * (1 - data[-1]))

    def loss(circuit, data):
        run = ag.simulate(circuit, ts, calculus=ag.Discrete(span=11))
        return jnp.mean((run.output - data) ** 2)

    start = growth(ag.Positive(0.4), ag.Bounded(0.2, 0.0, 1.0))
    names = {"scalar[1].factor": 0.8, "register.initial": 0.05}
    options = {"args": (jnp.array(data),), "optimizer": optax.lbfgs(), "steps": 60}
    found = ag.fit(start, loss, trainable=list(names), **options)
    for name, value in names.items():
        np.testing.assert_allclose(ag.parameters(found.circuit)[name], value, rtol=1e-5)


INCREMENTS = jnp.array([0.31, -0.22, 0.05, 0.4])
CALCULI = {
    "real": ag.Real(order=10, rtol=1e-10, max_steps=63),
    "stochastic": ag.Stochastic(steps=4, noise={"W": INCREMENTS}),
    "discrete": ag.Discrete(span=3),
}


@pytest.mark.parametrize("mode", [jax.grad, slow(jax.jacfwd)])
@pytest.mark.parametrize("calculus", CALCULI)
def test_gradients_are_central_differences_in_every_calculus(calculus, mode):
    kind = ag.StochasticRegister("t", "W") if calculus == "stochastic" else ag.Register("t", 0.2)
    drift = ag.Sin() >> ag.Scalar(ag.Positive(0.7)) >> ag.Register("t", 0.9)
    parts = drift @ (ag.Scalar(0.3) >> kind)
    circuit = (ag.Split() >> parts >> ag.Add() >> ag.Split()).trace()
    ts = [0.0, 3.0] if calculus == "discrete" else [0.0, 1.0]

    @jax.jit
    def end(circuit):
        return ag.simulate(circuit, ts, calculus=CALCULI[calculus]).output[-1]

    slopes = ag.parameters(jax.jit(mode(end))(circuit))
    assert len(slopes) == 4
    step = 1e-4
    for name, value in ag.parameters(circuit).items():
        moved = [end(ag.update(circuit, {name: value + k * step})) for k in (-2, -1, 1, 2)]
        difference = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * step)
        # The differences lose some 1e-16 / 1e-4, and at 1e-10 the run's own steps.
        np.testing.assert_allclose(slopes[name], difference, rtol=1e-7, atol=1e-7)
