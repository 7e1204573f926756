"""Radau's implicit steps: their numbers, their order and stability, and stiff systems."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.linalg
from helpers import in_both_modes, slow
from systems import ode

import asgard as ag
from asgard.calculi.real.methods.method import Stretch
from asgard.calculi.real.methods.radau.tableau import NODES, tableau
from asgard.calculi.real.polynomial import value_at
from asgard.calculi.real.system import System

STAGES = (3, 5, 7)
MARK = "xla_cpu_small_call"


def robertson(rates, start):
    """Three reactions of one substance, a b c: Robertson, 1966."""
    k1, k2, k3 = rates

    def field(y):
        first, second, third = k1 * y[0], k2 * y[1] * y[2], k3 * y[1] ** 2
        return jnp.stack([second - first, first - second - third, third])

    return ode(field, start)


RATES, START = jnp.array([0.04, 1e4, 3e7]), jnp.array([1.0, 0.0, 0.0])
# The Test Set for IVP Solvers, release 2.4: at t = 1e11.
ROBERTSON = np.array([0.2083340149701255e-07, 0.8333360770334713e-13, 0.9999999791665050])
SCALE = np.array([1e-7, 1e-13, 1.0])


def van_der_pol(mu, start):
    return ode(lambda y: jnp.stack([y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]]), start)


@pytest.mark.parametrize("stages", STAGES)
def test_nodes_are_the_zeros_of_the_polynomial_and_quadratures_are_exact(stages):
    table = tableau(stages)
    with mp.workdps(30):
        for node in NODES[stages]:
            x = 2 * mp.mpf(repr(node)) - 1
            assert abs(mp.legendre(stages, x) - mp.legendre(stages - 1, x)) < 1e-15
    for power in range(2 * stages - 1):
        exact = 1 / (power + 1)
        np.testing.assert_allclose(table.weights[-1] @ table.nodes**power, exact, atol=1e-13)
    # The systems are the matrix in another basis.
    count = len(table.real)
    blocks = np.zeros((2 * count, 2 * count))
    blocks[:count, :count] = blocks[count:, count:] = np.diag(table.real)
    blocks[:count, count:], blocks[count:, :count] = (
        np.diag(table.imaginary),
        -np.diag(table.imaginary),
    )
    found = table.to_stages @ blocks @ table.to_systems
    np.testing.assert_allclose(found, table.slopes, atol=1e-11)


@pytest.mark.parametrize(
    ("stages", "sizes"), [(3, (0.5, 0.25)), slow(5, (1.0, 0.5)), (7, (2.0, 1.0))]
)
def test_the_error_falls_with_the_order(stages, sizes):
    """`curve` solves the stages to rounding: steps of one size show the order, 2 s - 1."""

    def field(t, y):
        return jnp.stack([y[1], -jnp.sin(y[0])])

    def jacobian(t, y):
        return jax.jacfwd(field, 1)(t, y)

    system = System(field=field, expand=None, jacobian=jacobian, size=2)
    method, start = ag.Radau(stages), jnp.array([1.0, 0.0])

    def end(size):
        def step(y, _):
            stretch = Stretch(size, size, jnp.asarray(np.inf))
            curve = method.curve(system, jnp.zeros(()), y, stretch)
            return value_at(curve, jnp.ones(()), method.centre), None

        return jax.lax.scan(step, start, length=int(4.0 / size))[0]

    pendulum = ode(lambda y: field(0.0, y), start)
    truth = ag.simulate(pendulum, [0.0, 4.0]).output[-1]
    errors = [np.abs(end(jnp.asarray(size)) - truth).max() for size in sizes]
    slope = np.log2(errors[0] / errors[1])
    assert 2 * stages - 3 < slope < 2 * stages + 2


@pytest.mark.parametrize(("stages", "most"), [slow(3, 400), (5, 60), slow(7, 40)])
def test_what_decays_fast_does_not_bound_a_step(stages, most):
    # y' = -1e8 (y - cos t): y is cos t but for 1e-8 sin t after a layer of 1e-8.
    def field(y, t):
        return -1e8 * (y - jnp.cos(t))

    follow = ag.Function(lambda t, y: field(y, t), 2)
    circuit = (follow >> ag.Register("t", 0.0) >> ag.Split()).trace()
    calculus = ag.Real(method=ag.Radau(stages), rtol=1e-6, atol=1e-9)
    # Between the ends of steps, too.
    ts = np.linspace(0.0, 10.0, 101)
    run = ag.simulate(circuit, ts, inputs=(lambda t: t,), calculus=calculus)
    np.testing.assert_allclose(run.output[1:], np.cos(ts[1:]), atol=1e-6)
    assert run.stats["steps"] < most
    # One large step damps by more than any explicit method, and by R(-inf) = 0.
    decay = (ag.Scalar(-1e8) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    run = ag.simulate(decay, [0.0, 1.0], calculus=calculus)
    assert abs(run.output[-1]) < 1e-9


@jax.jit
def _robertson(rates, rtol):
    calculus = ag.Real(method=ag.Radau(), rtol=rtol, atol=1e-3 * rtol * jnp.asarray(SCALE))
    run = ag.simulate(robertson(rates, START), [0.0, 1e11], calculus=calculus, throw=False)
    return run.output[-1], run.status, run.stats


def test_robertson_over_eleven_decades():
    for rtol in (1e-4, 1e-6, 1e-9, 1e-11):
        end, status, stats = _robertson(RATES, rtol)
        assert status == ag.Status.ok
        np.testing.assert_allclose(end, ROBERTSON, rtol=10 * rtol)
        assert stats["steps"] < 2000
        assert stats["kernel"]


def test_a_long_run_of_robertson_has_gradients():
    # What is left at last depends on the sum of the start alone. Terms of 1e3 cancel in entries of
    # 1e-9, and the linear systems of the gradient once ended where nothing could be better, as NaN.
    def end(start):
        calculus = ag.Real(method=ag.Radau(), rtol=1e-4, atol=1e-7 * jnp.asarray(SCALE))
        return ag.simulate(robertson(RATES, start), [0.0, 1e11], calculus=calculus).output[-1, 0]

    value, gradient = jax.jit(jax.value_and_grad(end))(START)
    np.testing.assert_allclose(value, ROBERTSON[0], rtol=1e-3)
    # y₁ = k₂ y₂ y₃ / k₁ and k₁ y₁ = k₂ y₂ y₃ + k₃ y₂²: y₁ falls as 1 / t, and grows as sum².
    np.testing.assert_allclose(gradient, np.full(3, 2 * ROBERTSON[0]), rtol=1e-3)


@pytest.mark.slow
def test_gradients_of_many_runs_are_kernels():
    # With 55 lanes and more, the largest sum of the backward pass was too large for a kernel.
    def ends(starts):
        calculus = ag.Real(method=ag.Radau(), rtol=1e-4, max_steps=255)
        run = jax.vmap(
            lambda start: ag.simulate(robertson(RATES, start), [0.0, 1e3], calculus=calculus).output
        )
        return jnp.sum(run(starts))

    few, many = (
        jax.jit(jax.grad(ends)).lower(jnp.tile(START, (count, 1))).as_text().count(MARK)
        for count in (40, 60)
    )
    assert many >= few > 0


def test_gradients_of_what_has_decayed_to_nothing_are_numbers():
    # Cotangents of fast states fall until their products underflow, which once counted as changes:
    # of these 19 gradients six were NaN.
    speeds = 10.0 ** np.linspace(0, 6, 4)

    def end(factor, rtol):
        def field(y):
            gains = jnp.concatenate([jnp.array([0.1]), speeds[:-1] * y[:-1] ** 2])
            return factor * (gains - speeds * y)

        calculus = ag.Real(method=ag.Radau(3), rtol=rtol, atol=1e-3 * rtol)
        run = ag.simulate(ode(field, jnp.ones(4)), [0.0, 1 / 3, 1.0], calculus=calculus)
        return jnp.sum(jnp.log(jnp.abs(run.output[1:]) + 1e-3))

    @jax.jit
    def both(rtol):
        return jax.grad(end)(1.0, rtol), jax.jvp(lambda p: end(p, rtol), (1.0,), (1.0,))[1]

    for rtol in 10.0 ** np.linspace(-2, -8, 19):
        reverse, forward = both(rtol)
        np.testing.assert_allclose(reverse, forward, rtol=1e-8)


def test_the_first_step_is_short_beside_a_layer():
    # The second entry comes to the first within 1e-9. The first step was once 1e6 times as long,
    # and refused six times.
    circuit = ode(lambda y: jnp.stack([-y[0], 1e9 * (y[0] - y[1])]), jnp.array([1.0, 0.0]))
    calculus = ag.Real(method=ag.Radau(), rtol=1e-5, atol=1e-9)
    run = ag.simulate(circuit, [0.0, 1e-9, 1.0], calculus=calculus)
    np.testing.assert_allclose(run.output[1:, 1], [1 - np.exp(-1), np.exp(-1)], rtol=1e-4)
    assert run.stats["rejected"] <= 1


def test_long_steps_are_guessed_from_what_is_smooth():
    # By all seven orders of the step before, 63 of 199 steps were refused.
    calculus = ag.Real(method=ag.Radau(7), rtol=1e-2, atol=1e-5 * jnp.asarray(SCALE))
    run = ag.simulate(robertson(RATES, START), [0.0, 1e11], calculus=calculus)
    assert run.stats["rejected"] < 10


def test_batches_of_stiff_runs_are_kernels():
    size = 10
    speeds = 10.0 ** np.linspace(0, 6, size)

    def run(factor):
        circuit = ode(lambda y: factor * speeds * (0.5 * jnp.roll(y, 1) - y), jnp.ones(size))
        calculus = ag.Real(method=ag.Radau(), rtol=1e-4, atol=1e-7)
        return ag.simulate(circuit, [0.0, 1.0], calculus=calculus)

    batch = jax.jit(jax.vmap(lambda factor: (run(factor).output[-1], run(factor).stats)))
    ends, stats = batch(jnp.linspace(0.5, 2.0, 40))
    assert np.all(stats["kernel"])
    np.testing.assert_allclose(ends[-1], run(2.0).output[-1], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_gradient_of_a_rate_of_robertson_is_right_to_eight_digits():
    def end(rates):
        calculus = ag.Real(method=ag.Radau(7), rtol=1e-11, atol=1e-13 * jnp.asarray(SCALE))
        return ag.simulate(robertson(rates, START), [0.0, 1e3], calculus=calculus).output[-1, 0]

    _, (forward,), (reverse,) = jax.jit(functools.partial(in_both_modes, end))(RATES)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9)

    # An explicit series of high order, of the sensitivities themselves.
    def exact(rates):
        calculus = ag.Real(max_steps=16**5)
        return ag.simulate(robertson(rates, START), [0.0, 1e3], calculus=calculus).output[-1, 0]

    expected = jax.jit(jax.jacfwd(exact))(RATES)
    np.testing.assert_allclose(reverse, expected, rtol=1e-8)


def test_a_relaxation_oscillator_of_a_large_number():
    calculus = ag.Real(method=ag.Radau(), rtol=1e-8, atol=1e-8)
    run = ag.simulate(van_der_pol(1e3, jnp.array([2.0, 0.0])), [0.0, 2000.0], calculus=calculus)
    # The Test Set for IVP Solvers, release 2.4.
    expected = [0.1706167732170483e1, -0.8928097010247975e-3]
    np.testing.assert_allclose(run.output[-1], expected, rtol=1e-6)


def chain(speeds, count=40):
    """Two substances on a line, which spread and react: a band of two diagonals on each side."""

    def spread(u, edge):
        left, right = jnp.full(1, edge), jnp.full(1, edge)
        line = jnp.concatenate([left, u, right])
        return line[2:] - 2 * u + line[:-2]

    def field(y):
        u, v = jnp.split(y, 2)
        react = u * u * v
        return jnp.concatenate(
            [
                1.0 + react - 4 * u + speeds[0] * spread(u, 1.0),
                3 * u - react + speeds[1] * spread(v, 3.0),
            ]
        )

    x = np.arange(1, count + 1) / (count + 1)
    return ode(field, jnp.concatenate([1 + jnp.sin(2 * np.pi * x), jnp.full(count, 3.0)]))


@pytest.mark.slow
def test_a_banded_system_and_its_derivatives_are_those_of_a_dense_one():
    speeds = jnp.array([200.0, 300.0])

    def end(speeds, method, **options):
        calculus = ag.Real(method=method, max_steps=1023, **options)
        return jnp.sum(ag.simulate(chain(speeds), [0.0, 0.5], calculus=calculus).output[-1] ** 2)

    radau = jax.jit(jax.value_and_grad(lambda s: end(s, ag.Radau(), rtol=1e-8, atol=1e-8)))
    found, slopes = radau(speeds)
    exact = jax.jit(jax.value_and_grad(lambda s: end(s, ag.Dopri8(), rtol=1e-9, atol=1e-9)))
    expected, expected_slopes = exact(speeds)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    np.testing.assert_allclose(slopes, expected_slopes, rtol=1e-5)


def holds_a_matrix(rate):
    """Whether a run of 80 numbers forms the whole matrix."""
    circuit, calculus = ag.ode(rate, jnp.ones(80)), ag.Real(method=ag.Radau())
    traced = jax.make_jaxpr(lambda: ag.simulate(circuit, [0.0, 1.0], calculus=calculus).output)
    return "[80,80]" in str(traced())


def test_ends_that_are_padded_or_held_leave_a_band():
    def padded(t, u):
        wide = jnp.pad(u, 1)
        return wide[2:] - 2 * u + wide[:-2]

    def held(t, u):
        return (jnp.roll(u, 1) - 2 * u + jnp.roll(u, -1)).at[0].set(0.0).at[-1].set(0.0)

    def coupled(t, u):
        return jnp.sin(jnp.sum(u)) - u

    assert holds_a_matrix(coupled)
    assert not holds_a_matrix(padded)
    assert not holds_a_matrix(held)


def test_loops_and_branches_leave_a_band():
    def by_index(t, u):
        wide = jnp.pad(u, 1)
        return jax.lax.map(lambda i: wide[i] - 2 * wide[i + 1] + wide[i + 2], jnp.arange(80))

    def copied(t, u):
        wide, weights = jnp.pad(u, 1), jnp.array([1.0, -2.0, 1.0])
        part = functools.partial(jax.lax.dynamic_slice, wide, slice_sizes=(80,))
        return jax.lax.fori_loop(0, 3, lambda i, sum_: sum_ + weights[i] * part((i,)), 0 * u)

    def chosen(t, u):
        return jax.lax.cond(t < 0.5, lambda: copied(t, u), lambda: -u)

    assert not holds_a_matrix(by_index)
    assert not holds_a_matrix(chosen)


@pytest.mark.slow
def test_an_equation_that_closes_over_indices_has_derivatives():
    """y' = d (y[i + 1] - y[i]) = d A y by `lax.map` over an array of indices."""
    indices = jnp.arange(3)

    def field(y, d):
        padded = jnp.pad(y, (0, 1))
        return d * jax.lax.map(lambda i: padded[i + 1] - padded[i], indices)

    start = jnp.array([1.0, 2.0, 4.0])

    def end(d):
        calculus = ag.Real(method=ag.Radau(), rtol=1e-9, atol=1e-11)
        circuit = ode(lambda y: field(y, d), start)
        return ag.simulate(circuit, [0.0, 0.5], calculus=calculus).output[-1]

    matrix = np.diag(np.ones(2), 1) - np.eye(3)
    exact = 0.5 * matrix @ scipy.linalg.expm(1.3 * 0.5 * matrix) @ np.asarray(start)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(end))(1.3), exact, rtol=1e-7)


def test_failures_are_statuses_that_come_soon():
    calculus = ag.Real(method=ag.Radau(3), rtol=1e-6, atol=1e-9)
    edge = ode(lambda y: -jnp.sqrt(y) - 1.0, jnp.ones(1))  # no real slope below 0
    run = ag.simulate(edge, [0.0, 5.0], calculus=calculus, throw=False)
    assert run.status != ag.Status.ok
    assert np.isnan(run.output[-1])
    assert run.stats["rejected"] < 500


def test_wrong_stages_and_states_are_refused():
    for stages in (4, 1, 5.0, "5"):
        with pytest.raises(ag.CircuitError, match="3, 5 or 7"):
            ag.Radau(stages)
    spiral = ode(lambda z: 1j * z, jnp.ones(1, complex))
    with pytest.raises(ag.CircuitError, match="real and imaginary"):
        ag.simulate(spiral, [0.0, 1.0], calculus=ag.Real(method=ag.Radau()))
