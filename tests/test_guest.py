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
    assert np.isclose(jax.jacfwd(end)(1.0), slope)
    values, slopes = jax.vmap(jax.value_and_grad(end))(jnp.array([1.0, 0.5]))
    assert np.isclose(slopes[0], slope)
    assert np.isclose(values[0], value)


def test_a_run_of_one_step_holds_nothing_infinite(strict):
    assert ag.simulate(ag.Register("t"), [0.0, 1.0], inputs=(1.0,)).output[-1] == 1


@pytest.mark.slow
def test_series_and_fixed_points_obey_strict_settings(strict):
    x, slope = ag.series(LOOP, ag.Stream([1.0, 1.0], "t"), order=1).coefficients
    assert jnp.isclose(x, 0.5 * jnp.cos(1.0 + x))
    assert jnp.isclose(slope, -0.5 * jnp.sin(1.0 + x) * (1.0 + slope))
    assert ag.simulate(SOLVED, TIMES, calculus=QUICK).status == ag.Status.ok


def test_sequences_obey_strict_settings(strict):
    def last(circuit):
        return ag.simulate(circuit, [0, 1, 2], calculus=ag.Discrete()).output[-1]

    assert ag.parameters(jax.grad(last)(DECAY))["register.initial"] == 0.0


@pytest.mark.slow
def test_ensembles_and_their_gradients_obey_strict_settings(strict):
    key, euler = jax.random.key(0), ag.Stochastic(steps=1)

    def mean(circuit):
        found = ag.ensemble(
            *(circuit, [0.0, 1.0]),
            calculus=euler,
            key=key,
            paths=2,
            tile=2,
            reduce=ag.statistics.Mean(),
        )
        return found.statistics[-1]

    assert jnp.isfinite(mean(NOISY))
    # JAX's own checks check every equation again in every transformation.
    with jax.enable_checks(False):
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


def branch(x):
    """A rule for concrete values only."""
    seen.append(float(x))
    return -x if x > 0.5 else -0.5 * x


seen: list[float] = []
BRANCH = ag.Function(branch, 1)
BRANCHING = (BRANCH >> ag.Register("t", 1.0) >> ag.Split()).trace()


def test_without_jit_atoms_are_called_with_concrete_values():
    with jax.disable_jit():
        run = ag.simulate(BRANCHING, [0.0, 1.0, 2.0], calculus=ag.Real(rtol=1e-4))
        later = ag.simulate(BRANCHING, [2.0, 3.0], calculus=ag.Real(rtol=1e-4), state=run.state)
    after = 0.5 * np.exp(-0.5 * (np.array([1.0, 2.0, 3.0]) - np.log(2.0)))
    np.testing.assert_allclose(run.output, [1.0, *after[:2]], rtol=1e-3)
    np.testing.assert_allclose(later.output, after[1:], rtol=1e-3)
    assert seen[0] == 1.0
    with jax.disable_jit():
        run = ag.simulate(BRANCHING, [0, 1, 2], calculus=ag.Discrete())
    np.testing.assert_allclose(run.output, [1.0, 0.0, 0.0])
    sums = ag.compile(BRANCH >> ag.Register("n"), ag.Discrete(), jit=False)
    np.testing.assert_allclose(sums((jnp.array([1.0, 0.2, 0.0]),))[0], [0.0, -1.0, -1.1])
    noisy = (BRANCH >> ag.StochasticRegister("t", "W", 1.0) >> ag.Split()).trace()
    euler = ag.Stochastic(steps=2, noise={"W": jnp.array([0.75, 1.0])})
    with jax.disable_jit():
        run = ag.simulate(noisy, [0.0, 1.0], calculus=euler)
    np.testing.assert_allclose(run.output, [1.0, 0.125])


def test_without_jit_a_real_run_agrees_with_the_compiled_one():
    def pulse(t):
        return jnp.where(t < 0.5, 1.0, 0.0)

    driven = (ag.Add() >> ag.Register("t", 1.0) >> ag.Split()).trace()
    held = ag.Samples([1.0, 2.0], [0.0, 0.7])
    for given, stops in ((pulse, [0.5]), (held, None)):
        real = ag.Real(order=8, rtol=1e-7, breakpoints=stops)
        compiled = ag.simulate(driven, [0.0, 0.6, 1.0], inputs=(given,), calculus=real)
        with jax.disable_jit():
            run = ag.simulate(driven, [0.0, 0.6, 1.0], inputs=(given,), calculus=real)
        np.testing.assert_allclose(run.output, compiled.output, rtol=1e-6)
        assert run.stats.keys() == compiled.stats.keys()


def test_without_jit_small_quantities_grow():
    growth = (
        ag.Function(lambda x: x * (1 - x), 1) >> ag.Register("t", 1e-60) >> ag.Split()
    ).trace()
    with jax.disable_jit():
        run = ag.simulate(growth, [0.0, 140.0], calculus=ag.Real(rtol=1e-4))
    np.testing.assert_allclose(run.output[-1], 1 / (1 + 1e60 * np.exp(-140.0)), rtol=1e-2)


def test_without_jit_a_failure_is_a_status():
    blow_up = (ag.Power(2) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    real = ag.Real(rtol=1e-3, max_steps=10)
    with jax.disable_jit():
        run = ag.simulate(blow_up, [0.0, 0.5, 2.0], calculus=real, throw=False)
    assert run.status == ag.Status.max_steps
    np.testing.assert_allclose(run.output, [1.0, 2.0, np.nan], rtol=1e-2)


def shout(x):
    jax.debug.callback(lambda value: seen.append(float(value)), x)
    return -x


def test_callbacks_in_atoms_and_losses_work_or_are_refused_by_name():
    loud = (ag.Function(shout, 1) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    seen.clear()
    ag.simulate(loud, [0, 1, 2], calculus=ag.Discrete())
    jax.effects_barrier()
    assert seen == [1.0, 0.0, 0.0]
    noisy = (ag.Function(shout, 1) >> ag.StochasticRegister("t", "W", 1.0) >> ag.Split()).trace()
    euler = ag.Stochastic(steps=1, noise={"W": jnp.array([0.5])})
    ag.simulate(noisy, [0.0, 1.0], calculus=euler)
    jax.effects_barrier()
    assert 1.0 in seen[3:]
    for calculus in (ag.Real(), ag.Steady()):
        with pytest.raises(ag.CircuitError, match=r"debug_(callback|print).*jax\.debug\.print"):
            ag.simulate(loud, TIMES, calculus=calculus)
    loop = (ag.Add() >> ag.Function(shout, 1) >> ag.Scalar(0.5) >> ag.Split()).trace()
    with pytest.raises(ag.CircuitError, match=r"jax\.debug\.print"):
        ag.simulate(loop, [0, 1], inputs=(1.0,), calculus=ag.Discrete())

    def loss(circuit):
        start = ag.parameters(circuit)["register.initial"]
        return shout(-start) ** 2

    seen.clear()
    ag.fit(DECAY, loss, optimizer=optax.sgd(0.25), steps=1)
    jax.effects_barrier()
    assert seen == [-1.0, -0.5]


def test_literal_times_inside_of_a_trace_are_known():
    def last(circuit):
        return ag.simulate(circuit, [0, 1, 2], calculus=ag.Discrete()).output[-1]

    growth = (ag.Register("n", 1.0) >> ag.Split()).trace()
    assert jax.jit(last)(growth) == 4.0
    with pytest.raises(ag.CircuitError, match="list or an array of NumPy"):
        jax.jit(lambda ts: ag.simulate(growth, ts, calculus=ag.Discrete()).output)(jnp.arange(3.0))


def test_a_failed_run_under_grad_says_how_it_failed():
    blow_up = (ag.Power(2) >> ag.Register("t", 1.0) >> ag.Split()).trace()

    def last(circuit):
        return ag.simulate(circuit, TIMES, calculus=ag.Real(order=4, max_steps=1)).output[-1]

    with pytest.raises(ag.SimulationError, match="max_steps"):
        jax.grad(last)(blow_up)
