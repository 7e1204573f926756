"""Loops that no register cuts, at every sample of a sequence and along stochastic paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from diffusions import wiener
from helpers import slow, with_values

import asgard as ag

KEY = jax.random.key(5)
NEWTON = ag.FixedPoint("newton")  # compiles fastest
DISCRETE = ag.Discrete(fixed_point=NEWTON)
RANDOM = np.random.default_rng(6)


def instantly(gain):
    """The solution z of z = u + gain z, 1 -> 1: a loop without a register."""
    return ((ag.Id() @ ag.Scalar(gain)) >> ag.Add() >> ag.Split()).trace()


def kepler(e=0.8):
    """The solution x of x = u + e sin x, 1 -> 1."""
    return ((ag.Id() @ (ag.Sin() >> ag.Scalar(e))) >> ag.Add() >> ag.Split()).trace()


def filtered(gain=-0.5, back=0.8):
    """y[n] = u[n] + gain y[n] + back y[n - 1], 1 -> 1: a loop within a loop through a delay."""
    held = ag.Delay("n") >> ag.Scalar(back)
    return ((ag.Id() @ held) >> ag.Add() >> instantly(gain) >> ag.Split()).trace()


def test_a_filter_with_feedback_without_delay_is_that_of_scipy():
    gain, back, samples = -0.5, 0.8, RANDOM.normal(size=60)
    share = 1 / (1 - gain)
    expected = scipy.signal.lfilter([share], [1, -back * share], samples)
    run = ag.compile(filtered(gain, back), DISCRETE)
    first, state = run((samples[:21],), None)
    rest, _ = run((samples[21:],), state)
    np.testing.assert_allclose(jnp.concatenate([first, rest]), expected, atol=1e-13)


@pytest.mark.parametrize("method", ["auto", "picard", "newton"])
def test_the_implicit_euler_method_is_a_sequence(method):
    # z[n] = z[n-1] - h z[n]^2, whose positive root is known.
    h, steps = 0.1, 25
    stage = ag.Function(lambda before, z: before - h * z**2, 2)
    solve = (stage >> ag.Var("z") >> ag.Split()).trace()
    circuit = (ag.Delay("n", 1.0) >> solve >> ag.Split()).trace()
    calculus = ag.Discrete(fixed_point=ag.FixedPoint(method, guess={"z": 1.0}))
    run = ag.simulate(circuit, range(steps), calculus=calculus)
    z, expected = 1.0, []
    for _ in range(steps):
        z = (-1 + np.sqrt(1 + 4 * h * z)) / (2 * h)
        expected.append(z)
    np.testing.assert_allclose(run.output, expected, rtol=1e-13)
    assert run.status == ag.Status.ok
    assert run.stats["residual"] < 1e-15
    assert run.loops == ("the loop through Function (solved for z)",)


def test_a_solve_starts_from_the_solution_of_the_sample_before():
    calculus = ag.Discrete(fixed_point=ag.FixedPoint("picard"))
    inputs = (lambda n: 2.0 + n / 1000,)
    first = ag.simulate(kepler(), [0, 30], inputs=inputs, calculus=calculus)
    cold, warm = (
        ag.simulate(kepler(), [30, 60], inputs=inputs, calculus=calculus, state=state)
        for state in (None, first.state)
    )
    np.testing.assert_allclose(warm.output, cold.output, rtol=1e-14)
    np.testing.assert_allclose(warm.output - 0.8 * np.sin(warm.output), [2.03, 2.06], rtol=1e-14)
    assert warm.stats["iterations"] < cold.stats["iterations"]


@pytest.mark.slow
def test_gradients_go_through_the_loops_of_a_sequence():
    samples = RANDOM.normal(size=9)

    def last(gain):
        return ag.compile(filtered(gain), DISCRETE)((samples,), None)[0][-1]

    def exact(gain):
        y = 0.0
        for u in samples:
            y = (u + 0.8 * y) / (1 - gain)
        return y

    @jax.jit
    def slopes(gain):
        return [with_values(jax.jacfwd, jax.grad(fn))(gain) for fn in (last, exact)]

    found, expected = slopes(-0.5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-11)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)


def growing():
    """z = 3 + (n / 4) z, 0 -> 1: no solution at n = 4."""
    gain = ag.Function(lambda n, z: n * z / 4, 2)
    loop = (ag.Coordinate("n") @ ag.Id()) >> gain
    return ((ag.Const(3.0) @ loop) >> ag.Add() >> ag.Split()).trace()


def test_a_sample_without_a_fixed_point_is_named_with_its_loop():
    with pytest.raises(ag.SimulationError, match=r"not_converged at t = 4.*the loop through"):
        ag.simulate(growing(), range(7), calculus=DISCRETE)
    run = ag.simulate(growing(), range(7), calculus=DISCRETE, throw=False)
    assert run.status == ag.Status.not_converged
    assert run.stats["reached"] == 4
    assert run.stats["residual"] > 0.1
    np.testing.assert_allclose(run.output[:4], 3 / (1 - np.arange(4) / 4), rtol=1e-14)
    assert np.isnan(run.output[4:]).all()


def test_a_sample_without_a_fixed_point_does_not_spoil_those_after_it():
    samples = np.array([1.0, np.nan, 2.0, 3.0])
    found, _ = ag.compile(kepler(), DISCRETE)((samples,), None)
    assert np.isnan(found[1])
    for place in (0, 2, 3):
        np.testing.assert_allclose(found[place] - 0.8 * np.sin(found[place]), samples[place])


def relaxing(drift, noise):
    """dx = drift(x) dt + noise(x) dW from 1, of two circuits 1 -> 1."""
    parts = (drift >> ag.Register("t", 1.0)) @ (noise >> ag.StochasticRegister("t", "W"))
    return (ag.Split() >> parts >> ag.Add() >> ag.Split()).trace()


@pytest.mark.parametrize("method", ["milstein", *map(slow, ("euler", "heun", "additive", "weak2"))])
def test_every_method_runs_what_its_loops_solve(method):
    # Loops for the rate -x / 2 and for the noise x / 4, or 1 / 4 where it is to be additive.
    rate = ag.Scalar(-1.0) >> instantly(-1.0)
    constant = ag.Discard() >> ag.Const(0.5)
    noise = (constant if method == "additive" else ag.Scalar(0.5)) >> instantly(-1.0)
    plain = ag.Discard() >> ag.Const(0.25) if method == "additive" else ag.Scalar(0.25)
    options = {"interpretation": "stratonovich"} if method == "heun" else {}
    calculus = ag.Stochastic(steps=6, method=method, fixed_point=NEWTON, **options)
    both = relaxing(rate, noise) @ relaxing(ag.Scalar(-0.5), plain)
    run = ag.simulate(both, [0.0, 0.5, 1.0], calculus=calculus, key=KEY)
    np.testing.assert_allclose(run.outputs[0], run.outputs[1], rtol=1e-12)
    assert run.stats["residual"] < 1e-15


STIFF, SIGMA, STEPS = 1000.0, 0.5, 20
H = 1.0 / STEPS


def backward(dtype="float64"):
    """dx = -1000 (x^3 + x) dt + 0.5 dW by the split-step backward method of Higham, Mao and Stuart.

    The stage z = x + h f(z) is a loop, and f(z) the rate: *Strong convergence of Euler-type methods
    for nonlinear stochastic differential equations*, SIAM J. Numer. Anal. 40 (2002), eq. 3.2.
    """
    stage = ag.Function(lambda x, z: x - H * STIFF * (z**3 + z), 2) >> ag.Split()
    rate = stage.trace() >> ag.Function(lambda z: -STIFF * (z**3 + z), 1)
    circuit = relaxing(rate, ag.Discard() >> ag.Const(SIGMA))
    return jax.tree.map(lambda leaf: leaf.astype(dtype), circuit)


def backward_by_hand(increments):
    """The same for many paths, by Newton's method."""
    x = np.ones(len(increments))
    for dw in increments.T:
        z = np.zeros_like(x)
        for _ in range(60):
            z -= (z - x + H * STIFF * (z**3 + z)) / (1 + H * STIFF * (3 * z**2 + 1))
        x = z + SIGMA * dw
    return x


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", slow("float32")])
def test_a_stiff_equation_runs_in_long_steps_by_a_loop(dtype):
    paths = 150
    increments = RANDOM.normal(size=(paths, STEPS)) * np.sqrt(H)
    handed = {"W": increments.astype(dtype)}
    calculus = ag.Stochastic(steps=STEPS, noise=handed, fixed_point=NEWTON)
    ts = jnp.asarray([0.0, 1.0], dtype)
    run = ag.ensemble(
        backward(dtype), ts, calculus=calculus, key=None, paths=paths, tile=64, throw=True
    )
    assert run.output.dtype == dtype
    # An error of z grows by its rate times h, 50 and more.
    resolution = 1e3 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        run.output[:, -1], backward_by_hand(increments), rtol=resolution, atol=resolution
    )


def test_explicit_steps_of_that_length_do_not_hold_it():
    rate = ag.Function(lambda x: -STIFF * (x**3 + x), 1)
    circuit = relaxing(rate, ag.Discard() >> ag.Const(SIGMA))
    run = ag.simulate(
        circuit, [0.0, 1.0], calculus=ag.Stochastic(steps=STEPS), key=KEY, throw=False
    )
    assert run.status == ag.Status.nonfinite


CEILING = 1.5
TS = [0.0, 0.5, 1.0]


def capped():
    """z^2 = 1.5 - W, 0 -> 2: z, integrated, and W. There is no z where W is above."""
    stage = ag.Function(lambda x, z: z - (z**2 - (CEILING - x)) / 2, 2)
    root = (stage >> ag.Var("z") >> ag.Split()).trace()
    return wiener() >> ag.Split() >> ((root >> ag.Register("t")) @ ag.Id())


def options(method="newton"):
    start = ag.FixedPoint(method, guess={"z": 1.0})
    return {"calculus": ag.Stochastic(steps=10, fixed_point=start), "key": KEY}


@pytest.fixture(scope="module")
def some():
    return ag.ensemble(capped(), TS, paths=200, tile=64, throw=False, **options())


def test_a_path_whose_loop_has_no_fixed_point_ends_and_leaves_the_others_untouched(some):
    # The same path with every step saved: the loop is solved at each, and at the end.
    plain = ag.Stochastic(steps=1)
    w = ag.ensemble(wiener(), np.linspace(0, 1, 21), calculus=plain, key=KEY, paths=200).output
    above = np.asarray(w > CEILING)
    ended = above.any(axis=1)
    assert 5 < ended.sum() < 60
    np.testing.assert_array_equal(some.first_bad, np.where(ended, first_step(above), -1))
    np.testing.assert_array_equal(
        jax.vmap(lambda how: how == ag.Status.not_converged)(some.status), ended
    )
    np.testing.assert_array_equal(np.isnan(some.outputs[0][:, -1]), ended)
    np.testing.assert_allclose(some.outputs[1][~ended, -1], w[~ended, -1], rtol=1e-12)


def first_step(above):
    """The step from the first time above the ceiling; at a saved time, whose output is solved for,
    the step that led there."""
    first = above.argmax(axis=1)
    return first - (first % 10 == 0)


def test_the_first_path_without_a_fixed_point_is_named_with_its_loop(some):
    bad = np.flatnonzero(some.first_bad >= 0)
    words = rf"not_converged in {len(bad)} of 200 paths.*path {bad[0]} at.*as the loop through"
    with pytest.raises(ag.SimulationError, match=words) as caught:
        some.check()
    assert caught.value.status == "not_converged"


@pytest.mark.slow
def test_a_reduced_ensemble_counts_them(some):
    mean = ag.statistics.Mean(of=lambda z, w: z[-1])
    found = ag.ensemble(capped(), TS, paths=200, tile=64, throw=False, reduce=mean, **options())
    assert found.failed == some.failed
    assert found.failures.unsolved == some.failed
    np.testing.assert_allclose(found.statistics, np.nanmean(some.outputs[0][:, -1]), rtol=1e-12)


@pytest.mark.slow
def test_a_path_of_an_ensemble_with_loops_is_that_of_simulate(some):
    bad = int(np.flatnonzero(some.first_bad >= 0)[0])
    good = int(np.flatnonzero(some.first_bad < 0)[0])
    ended, whole = (
        ag.simulate(capped(), TS, path=path, throw=False, **options()) for path in (bad, good)
    )
    assert ended.status == ag.Status.not_converged
    assert ended.stats["steps"] == some.first_bad[bad]
    assert ended.stats["iterations"] > 1
    assert ended.stats["residual"] > 0
    assert whole.status == ag.Status.ok
    assert whole.stats["residual"] < 1e-12
    np.testing.assert_allclose(whole.outputs[0], some.outputs[0][good], rtol=1e-12)
    with pytest.raises(ag.SimulationError, match=r"not_converged at t =.*the loop through"):
        ended.check()


@pytest.mark.slow
def test_two_half_runs_with_loops_have_the_bits_of_one_whole_run(some):
    half = ag.ensemble(capped(), TS[:2], paths=200, tile=64, throw=False, **options())
    rest = ag.ensemble(
        capped(), TS[1:], paths=200, tile=64, throw=False, state=half.state, **options()
    )
    for found, expected in zip(rest.outputs, some.outputs, strict=True):
        np.testing.assert_array_equal(found, expected[:, 1:])
    assert rest.failed == some.failed


def test_gradients_go_through_the_loops_of_a_path():
    steps = RANDOM.normal(size=6) / 3

    def end(gain):
        circuit = relaxing(ag.Scalar(-1.0) >> instantly(gain), ag.Scalar(0.3))
        calculus = ag.Stochastic(steps=6, noise={"W": steps}, fixed_point=NEWTON)
        return ag.simulate(circuit, [0.0, 1.0], calculus=calculus).output[-1]

    def by_hand(gain):
        return jnp.prod(1 - 1 / (1 - gain) / 6 + 0.3 * steps)

    found, expected = jax.jit(lambda gain: (jax.grad(end)(gain), jax.grad(by_hand)(gain)))(-1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


REFUSED = {
    "a sequence's": lambda: ag.Discrete(fixed_point="newton"),
    "a path's": lambda: ag.Stochastic(steps=1, fixed_point="newton"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", REFUSED)
def test_a_fixed_point_is_no_word(name):
    with pytest.raises(ag.CircuitError, match="must be a FixedPoint"):
        REFUSED[name]()
