"""Loops that no register cuts, over time: differential-algebraic systems of index 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from helpers import slow

import asgard as ag

METHODS = ("auto", "newton", "picard")
TS = np.linspace(0.0, 2.0, 9)
NEWTON = ag.FixedPoint("newton")  # compiles fastest


def implicit(e=0.5, initial=1.0):
    """y' = -x with x = y + e sin x, 0 -> 1: y."""
    orbit = ag.Sin() >> ag.Scalar(e) >> ag.Var("x")
    solve = ((ag.Id() @ orbit) >> ag.Add() >> ag.Split()).trace()
    return (solve >> ag.Scalar(-1.0) >> ag.Register("t", initial) >> ag.Split()).trace()


def implicit_exact(e=0.5, initial=1.0):
    """The same from x' = -x / (1 - e cos x)."""
    start = scipy.optimize.brentq(lambda x: x - e * np.sin(x) - initial, -5, 5, xtol=1e-15)
    options = {"rtol": 1e-13, "atol": 1e-14, "method": "DOP853", "t_eval": TS}
    field = lambda _, x: -x / (1 - e * np.cos(x))  # noqa: E731
    x = scipy.integrate.solve_ivp(field, (0, 2), [start], **options).y[0]
    return x - e * np.sin(x)


@pytest.mark.parametrize("method", [slow("auto"), "newton", slow("picard")])
def test_an_implicit_rate_is_that_of_the_explicit_one(method):
    calculus = ag.Real(fixed_point=ag.FixedPoint(method))
    run = ag.simulate(implicit(), TS, calculus=calculus)
    np.testing.assert_allclose(run.output, implicit_exact(), rtol=1e-11)
    assert run.status == ag.Status.ok
    assert run.stats["residual"] < 1e-14
    assert run.loops == ("the loop through sin, scalar, add (solved for x)",)


# A source through a resistor and a diode to a capacitor with a load: the voltage v behind the
# resistor is that where its current is the diode's.
RESISTANCE, LOAD, CAPACITY, SATURATION, THERMAL = 1e3, 1e4, 1e-6, 1e-12, 0.02585


def source(t):
    """Volts."""
    return 5.0 * jnp.sin(2 * jnp.pi * 100.0 * t)


def rectifier(resistance=RESISTANCE):
    def diode(v, charged):
        return SATURATION * (jnp.exp((v - charged) / THERMAL) - 1)

    node = ag.Function(lambda u, charged, v: u - resistance * diode(v, charged), 3)
    solve = (node >> ag.Var("v") >> ag.Split()).trace()
    rate = ag.Function(lambda v, charged: (diode(v, charged) - charged / LOAD) / CAPACITY, 2)
    inside = ag.Id() @ ag.Split() >> solve @ ag.Id() >> rate
    return (inside >> ag.Register("t", 0.0) >> ag.Split()).trace()


@pytest.mark.slow
def test_a_rectifier_is_that_of_an_independent_solver():
    ts = np.linspace(0, 0.02, 11)

    def current(u, charged):
        def miss(v):
            return v - u + RESISTANCE * SATURATION * np.expm1((v - charged) / THERMAL)

        low, high = min(u, charged), max(u, charged) + RESISTANCE * SATURATION
        return (u - scipy.optimize.brentq(miss, low, high, xtol=1e-15, rtol=1e-15)) / RESISTANCE

    def field(t, y):
        return [(current(float(source(t)), y[0]) - y[0] / LOAD) / CAPACITY]

    options = {"rtol": 1e-9, "atol": 1e-9, "method": "Radau", "t_eval": ts, "max_step": 1e-4}
    exact = scipy.integrate.solve_ivp(field, (0, 0.02), [0.0], **options).y[0]
    calculus = ag.Real(rtol=1e-10, max_steps=4000)
    run = ag.simulate(rectifier(), ts, inputs=(source,), calculus=calculus)
    np.testing.assert_allclose(run.output, exact, atol=2e-7)


@pytest.mark.slow
def test_a_pendulum_in_constrained_coordinates_keeps_to_its_circle():
    gravity = 9.81

    # The tension q in units of mass and length is where x x'' + y y'' + x'^2 + y'^2 = 0.
    def balance(s, q):
        x, y, u, v = s
        return q + x * (-q * x) + y * (-q * y - gravity) + u * u + v * v

    def rate(s, q):
        x, y, u, v = s
        return jnp.stack([u, v, -q * x, -q * y - gravity])

    tension = (ag.Function(balance, 2) >> ag.Var("q") >> ag.Split()).trace()
    start = jnp.asarray([jnp.sin(1.0), -jnp.cos(1.0), 0.0, 0.0])
    body = ag.Split() >> ag.Id() @ tension >> ag.Function(rate, 2) >> ag.Register("t", start)
    run = ag.simulate((body >> ag.Split()).trace(), TS, calculus=ag.Real(fixed_point=NEWTON))
    x, y, _, _ = run.output.T
    np.testing.assert_allclose(x * x + y * y, 1.0, rtol=1e-11)
    field = lambda _, z: [z[1], -gravity * np.sin(z[0])]  # noqa: E731
    options = {"rtol": 1e-13, "atol": 1e-13, "method": "DOP853", "t_eval": TS}
    angle = scipy.integrate.solve_ivp(field, (0, 2), [1.0, 0.0], **options).y[0]
    np.testing.assert_allclose(np.arctan2(x, -y), angle, atol=1e-10)


def test_outputs_are_solved_where_nothing_is_integrated():
    orbit = ag.Sin() >> ag.Scalar(0.5)
    solve = ((ag.Id() @ orbit) >> ag.Add() >> ag.Split()).trace()
    x = ag.simulate(solve, TS, inputs=(lambda t: t,)).output
    np.testing.assert_allclose(x - 0.5 * np.sin(x), TS, atol=1e-15)


def test_gradients_go_through_the_loop_and_the_steps():
    def last(e):
        return ag.simulate(
            implicit(e), TS, calculus=ag.Real(max_steps=64, fixed_point=NEWTON)
        ).output[-1]

    step = 1e-4
    moved = [implicit_exact(0.5 + k * step)[-1] for k in (-2, -1, 1, 2)]
    exact = np.dot(moved, [1, -8, 8, -1]) / (12 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(last))(0.5), exact, rtol=1e-8)


@pytest.mark.slow
def test_each_lane_is_its_own_run():
    e = jnp.asarray([0.1, 0.5, 0.8])
    found = jax.vmap(lambda e: ag.simulate(implicit(e), TS).output)(e)
    for lane, one in enumerate(e):
        np.testing.assert_allclose(found[lane], implicit_exact(float(one)), rtol=1e-10)


@pytest.mark.slow
def test_two_half_runs_equal_one_whole_run():
    calculus = ag.Real(fixed_point=NEWTON)
    # As many times each, so that the first two are one compilation.
    whole = ag.simulate(implicit(), TS[::2], calculus=calculus)
    first = ag.simulate(implicit(), TS[:5], calculus=calculus)
    second = ag.simulate(implicit(), TS[4:], state=first.state, calculus=calculus)
    np.testing.assert_array_equal(second.output[::2], whole.output[2:])
    assert first.stats["steps"] + second.stats["steps"] == whole.stats["steps"]


@pytest.mark.slow
def test_a_dense_run_is_evaluated_between():
    run = ag.simulate(
        implicit(), TS, calculus=ag.Real(dense=True, max_steps=64, fixed_point=NEWTON)
    )
    np.testing.assert_allclose(run.evaluate(TS).output, implicit_exact(), rtol=1e-11)


def test_a_step_starts_where_the_one_before_leads():
    newton = ag.Real(fixed_point=NEWTON)
    run = ag.simulate(implicit(), TS, calculus=newton)
    assert run.stats["iterations"] <= 2
    # Without a state there is nothing to lead: each solve starts at the guess.
    orbit = ag.Sin() >> ag.Scalar(0.5)
    solve = ((ag.Id() @ orbit) >> ag.Add() >> ag.Split()).trace()
    assert ag.simulate(solve, TS, inputs=(jnp.exp,), calculus=newton).stats["iterations"] > 2


def folding(initial):
    """y' = 1, and x with x = x + (1 - y - x^2) / 4, which has a solution while y <= 1."""
    fold = (
        ag.Function(lambda y, x: x + (1 - y - x * x) / 4, 2) >> ag.Var("x") >> ag.Split()
    ).trace()
    clock = ag.Const(1.0) >> ag.Register("t", initial)
    return clock >> fold


def test_a_solution_that_ends_is_a_status_and_nan_from_there_on():
    how = ag.Real(fixed_point=ag.FixedPoint(guess={"x": 1.0}))
    ts = np.linspace(0.0, 2.0, 9)
    run = ag.simulate(folding(0.05), ts, calculus=how, throw=False)
    assert run.status == ag.Status.not_converged
    holds = 0.05 + ts <= 1
    np.testing.assert_allclose(run.output[holds], np.sqrt(0.95 - ts[holds]), rtol=1e-10)
    assert np.isnan(run.output[~holds]).all()
    assert run.stats["reached"] == ts[~holds][0]
    assert run.stats["residual"] > 1e-6
    with pytest.raises(
        ag.SimulationError, match=r"not_converged at t = .*the loop through .* misses"
    ):
        run.check()


def test_a_loop_without_a_solution_stops_a_run_that_depends_on_it():
    # y' = x where x = x + 1 + y, and so none.
    solve = (ag.Function(lambda y, x: x + 1 + y, 2) >> ag.Split()).trace()
    whole = (solve >> ag.Register("t", 0.0) >> ag.Split()).trace()
    with pytest.raises(ag.SimulationError, match=r"not_converged at t = 0.*gain"):
        ag.simulate(whole, TS)
    run = ag.simulate(whole, TS, throw=False)
    assert run.status == ag.Status.not_converged
    assert run.stats["residual"] == 1.0


@pytest.mark.slow
def test_lanes_fail_one_by_one():
    def run(gain):
        solve = (ag.Function(lambda y, x: gain * x + 1 + y, 2) >> ag.Split()).trace()
        whole = (solve >> ag.Scalar(-1.0) >> ag.Register("t", 0.0) >> ag.Split()).trace()
        return ag.simulate(whole, TS, calculus=ag.Real(fixed_point=NEWTON), throw=False)

    runs = jax.vmap(run)(jnp.asarray([0.0, 1.0, 0.5]))
    assert (runs.status == ag.Status.not_converged).tolist() == [False, True, False]
    np.testing.assert_allclose(runs.output[0], np.expm1(-TS), atol=1e-12)
    np.testing.assert_allclose(runs.output[2], np.expm1(-2 * TS), atol=1e-12)
    with pytest.raises(ag.SimulationError, match="in 1 of 3 runs"):
        runs.check()


@pytest.mark.slow
def test_a_solution_that_is_not_finite_stays_a_status_of_its_own():
    explosion = (ag.Power(2) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    beside = explosion >> ((ag.Id() @ ag.Scalar(0.5)) >> ag.Add() >> ag.Split()).trace()
    run = ag.simulate(beside, [0.0, 0.5, 2.0], throw=False)
    assert run.status != ag.Status.not_converged
    assert run.status != ag.Status.ok


@pytest.mark.slow
def test_nothing_compiles_again_where_numbers_change():
    count = []

    def counted(y, x):
        count.append(1)
        return y + 0.5 * jnp.sin(x)

    solve = (ag.Function(counted, 2) >> ag.Var("x") >> ag.Split()).trace()
    whole = (solve >> ag.Scalar(-1.0) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    for number, rtol in enumerate((0.0, 1e-12, 1e-10)):
        how = ag.FixedPoint("newton", rtol=rtol, guess={"x": float(number)}, max_steps=90 + number)
        ag.simulate(whole, TS, calculus=ag.Real(fixed_point=how))
        first = len(count) if number == 0 else first
    assert len(count) == first
