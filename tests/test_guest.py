"""Runs behave well under every setting of JAX that a caller may have made."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgard as ag

PENDULUM = (
    (ag.Sin() >> ag.Scalar(-9.81) >> ag.Register("t", 0.0) >> ag.Register("t", 1.0)) >> ag.Split()
).trace()
DECAY = (ag.Scalar(-1.0) >> ag.Register("t", 1.0) >> ag.Split()).trace()
# The x with x = cos(u + x) / 2, and a run with it in its loop.
LOOP = (ag.Add() >> ag.Cos() >> ag.Scalar(0.5) >> ag.Split()).trace()
SOLVED = (LOOP >> ag.Scalar(-1.0) >> ag.Register("t", 1.0) >> ag.Split()).trace()
NOISY = (ag.Scalar(0.2) >> ag.StochasticRegister("t", "W", 1.0) >> ag.Split()).trace()
TIMES = jnp.linspace(0.0, 0.5, 3)
QUICK = ag.Real(order=4, rtol=1e-3, max_steps=40)
SETTINGS = (
    lambda: jax.numpy_dtype_promotion("strict"),
    lambda: jax.numpy_rank_promotion("raise"),
    lambda: jax.debug_nans(True),
    lambda: jax.debug_infs(True),
    lambda: jax.enable_checks(True),
)


@pytest.fixture
def strict():
    """All settings at once."""
    with contextlib.ExitStack() as stack:
        for setting in SETTINGS:
            stack.enter_context(setting())
        yield


def end(start):
    circuit = ag.update(PENDULUM, {"register[1].initial": start})
    return ag.simulate(circuit, TIMES, calculus=QUICK).output[-1]


def test_runs_and_their_derivatives_obey_strict_settings(strict):
    value, slope = jax.value_and_grad(end)(1.0)
    assert jnp.isclose(jax.jacfwd(end)(1.0), slope)
    assert jnp.isclose(jax.vmap(jax.grad(end))(jnp.array([1.0, 0.5]))[0], slope)
    assert jnp.isclose(jax.vmap(end)(jnp.array([1.0, 0.5]))[0], value)


def test_a_run_of_one_step_holds_nothing_infinite(strict):
    assert ag.simulate(ag.Register("t"), [0.0, 1.0], inputs=(1.0,)).output[-1] == 1


def test_series_and_fixed_points_obey_strict_settings(strict):
    x, slope = ag.series(LOOP, ag.Stream([1.0, 1.0], "t"), order=1).coefficients
    assert jnp.isclose(x, 0.5 * jnp.cos(1.0 + x))
    assert jnp.isclose(slope, -0.5 * jnp.sin(1.0 + x) * (1.0 + slope))
    assert ag.simulate(SOLVED, TIMES, calculus=QUICK).status == ag.Status.ok


def test_sequences_obey_strict_settings(strict):
    def last(circuit):
        return ag.simulate(circuit, [0, 1, 2], calculus=ag.Discrete()).output[-1]

    assert ag.parameters(jax.grad(last)(DECAY))["register.initial"] == 0.0


def test_ensembles_and_their_gradients_obey_strict_settings(strict):
    key, euler = jax.random.key(0), ag.Stochastic(steps=2)

    def mean(circuit):
        found = ag.ensemble(
            circuit, TIMES, calculus=euler, key=key, paths=4, reduce=ag.statistics.Mean()
        )
        return found.statistics[-1]

    assert jnp.isfinite(ag.parameters(jax.grad(mean)(NOISY))["scalar.factor"])


def test_fits_obey_strict_settings_and_may_end_early(strict):
    def loss(circuit, target):
        return (ag.simulate(circuit, TIMES, calculus=QUICK).output[-1] - target) ** 2

    adam = optax.adam(0.1)
    found = ag.fit(DECAY, loss, args=(0.5,), optimizer=adam, steps=60, tol={"loss": 1e-3})
    assert found.status == ag.FitStatus.converged
    assert np.isnan(np.asarray(found.losses)[-1])


def test_atoms_obey_the_promotion_that_the_caller_has_set():
    single = jnp.ones((), jnp.float32)
    mixed = ag.Function(lambda x: x * single, 1) >> ag.Register("t")
    ag.simulate(mixed, TIMES, inputs=(1.0,), calculus=QUICK)
    with jax.numpy_dtype_promotion("strict"), pytest.raises(ag.CircuitError, match="promotion"):
        ag.simulate(mixed, TIMES, inputs=(1.0,), calculus=QUICK)
