"""Steady states against closed forms: predators and prey, chemistry, and what has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import with_values

import asgard as ag

STEADY = ag.Steady()


def lotka_volterra(a, b, c, d):
    """x' = a x - b x y, y' = c x y - d y, which rest at x = d / c, y = a / b, and at 0."""
    prey = ag.Function(lambda x, y: a * x - b * x * y, 2) >> ag.Register("t", 3.0)
    hunter = ag.Function(lambda x, y: c * x * y - d * y, 2) >> ag.Register("t", 2.0)
    copies = (ag.Split() @ ag.Split()) >> ag.Permute((0, 2, 1, 3))
    return (copies >> (prey @ hunter) >> copies).trace(2)


def dimer(total, forward, backward):
    """2 A ⇌ D with A + 2 D = total: A' = 2 backward D - 2 forward A², from A = total."""
    rate = ag.Function(
        lambda a: (total - a) * backward - 2 * forward * jnp.where(a > 0, a, 0) ** 2, 1
    )
    return (rate >> ag.Register("t", total) >> ag.Split()).trace()


def growth(g, initial=1.0):
    """x' = g(x)."""
    return (ag.Function(g, 1) >> ag.Register("t", initial) >> ag.Split()).trace()


def test_predators_and_prey_with_derivatives():
    def ends(a, b, c, d):
        return jnp.stack(ag.simulate(lotka_volterra(a, b, c, d), [0.0], calculus=STEADY).outputs)

    rates = (1.1, 0.4, 0.1, 0.4)
    slopes, found = jax.jit(with_values(jax.jacrev, ends, (0, 3)))(*rates)
    np.testing.assert_allclose(found[:, 0], (4.0, 2.75), rtol=1e-14)
    np.testing.assert_allclose(slopes[0][:, 0], (0.0, 2.5), atol=1e-13)
    np.testing.assert_allclose(slopes[1][:, 0], (10.0, 0.0), atol=1e-12)


def test_a_chemical_equilibrium_in_any_unit_of_time_and_amount():
    # 2 (forward / backward) A² + A = total.
    def amount(total, backward):
        circuit = dimer(total, backward * 3.0 / total, backward)
        return ag.simulate(circuit, [0.0], calculus=STEADY).output[0] / total

    totals, rates = 10.0 ** jnp.array([-9.0, 0.0, 7.0]), 10.0 ** jnp.array([9.0, -12.0, -30.0])
    found = jax.jit(jax.vmap(amount))(totals, rates)
    np.testing.assert_allclose(found, 1 / 3, rtol=1e-14)


def test_a_steady_state_follows_its_inputs_and_goes_on_from_a_state():
    # x' = u(t) - x³ + 0 · u', through a delay and a loop that no register cuts: y = (x + y) / 2.
    inner = (ag.Function(lambda x, y: (x + y) / 2, 2) >> ag.Split()).trace()
    cube = ag.Delay("t") >> inner >> ag.Function(lambda y: -(y**3), 1)
    drive = ag.Split() >> (ag.Id() @ ag.Deregister("t")) >> ag.Add()
    circuit = ((drive @ cube) >> ag.Add() >> ag.Register("t", 1.0) >> ag.Split()).trace()
    ts = np.linspace(0.0, 3.0, 4)
    inputs = (lambda t: (1 + t) ** 3,)
    run = ag.simulate(circuit, ts, inputs=inputs, calculus=STEADY)
    np.testing.assert_allclose(run.output, 1 + ts, rtol=1e-14)
    later = ag.simulate(circuit, ts + 4, inputs=inputs, calculus=STEADY, state=run.state)
    np.testing.assert_allclose(later.output, 5 + ts, rtol=1e-14)
    with pytest.raises(ag.CircuitError, match="state of an earlier run"):
        ag.simulate(growth(lambda x: -x), ts, calculus=STEADY, state=run.state)


def test_a_steady_state_of_one_vector_is_that_of_its_entries():
    matrix = jnp.array([[2.0, 1.0], [0.0, 4.0]])
    found = ag.simulate(
        growth(lambda x: jnp.array([3.0, 2.0]) - matrix @ x, jnp.zeros(2)), [0.0], calculus=STEADY
    )
    np.testing.assert_allclose(found.output[0], (1.25, 0.5), rtol=1e-15)


def test_where_no_steady_state_is_found_there_is_a_status():
    def outcome(c, ts=(0.0,)):
        circuit = (
            ag.Function(lambda x: c - x**2, 1) >> ag.Register("t", 1.0) >> ag.Split()
        ).trace()
        return ag.simulate(circuit, list(ts), calculus=STEADY, throw=False)

    runs = jax.jit(jax.vmap(outcome))(jnp.array([4.0, -1.0]))
    assert list(runs.status == ag.Status.not_converged) == [False, True]
    np.testing.assert_array_equal(runs.output[:, 0], (2.0, np.nan))
    with pytest.raises(ag.SimulationError, match="the steady state misses"):
        outcome(-1.0).check()
    # ∫ 1 dt has none, and what is not finite is told apart.
    drift = ag.simulate(ag.Register("t"), [0.0], inputs=(1.0,), calculus=STEADY, throw=False)
    assert drift.status == ag.Status.not_converged
    pole = ag.simulate(
        growth(lambda x: 1 - x) >> ag.Function(lambda x: 1 / (x - 1), 1),
        [0.0],
        calculus=STEADY,
        throw=False,
    )
    assert pole.status == ag.Status.nonfinite


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: ag.Steady(fixed_point="newton"), "must be a FixedPoint"),
        (lambda: ag.Steady(noise="on"), "noise must be"),
        (lambda: noisy(STEADY), "no meaning under Steady"),
    ],
)
def test_wrong_calls_say_what_is_wrong(unchecked, wrong, message):
    with pytest.raises(ag.CircuitError, match=message):
        wrong()


def noisy(calculus):
    drift = ag.Function(lambda x: 2.0 - x, 1) >> ag.Register("t", 1.0)
    noise = ag.StochasticRegister("t", "W", 0.5)
    circuit = (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace()
    return ag.simulate(circuit, [0.0], calculus=calculus).output


def test_noise_that_is_off_keeps_its_initial_content():
    np.testing.assert_allclose(noisy(ag.Steady(noise="off")), 2.0)
