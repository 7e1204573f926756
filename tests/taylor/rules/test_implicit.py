"""The series of fixed points against closed forms."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import neighbour_error, slow, taylor

import asgard as ag

EPS = np.finfo(np.float64).eps
T = ag.Stream([0.0, 1.0], "t")
ORDER = 20


def loop(fn):
    """The x with x = fn(t, x)."""
    return (ag.Function(fn, 2) >> ag.Var("x") >> ag.Split()).trace()


# The loop, its solution near the guess, and the guess.
CLOSED = {
    "a geometric series": (lambda t, x: 1 + t * x, lambda t: 1 / (1 - t), 0.0),
    "the Catalan numbers": (
        lambda t, x: 1 + t * x * x,
        lambda t: 2 / (1 + mp.sqrt(1 - 4 * t)),
        0.0,
    ),
    "the trees of Cayley": (lambda t, x: t * jnp.exp(x), lambda t: -mp.lambertw(-t), 0.0),
    "a root": (lambda t, x: (x + (2 + t) / x) / 2, lambda t: mp.sqrt(2 + t), 1.0),
    "an arc": (lambda t, x: x - jnp.sin(x) + t / 2, lambda t: mp.asin(t / 2), 0.1),
    "the orbit of Kepler": (lambda t, x: 1 + t + 0.5 * jnp.sin(x), None, 1.0),
}
SCANNED = [(name, False) for name in CLOSED]
UNROLLED = [slow(name, True) for name in CLOSED if name != "a root"]


@pytest.mark.parametrize(("name", "unroll"), [*SCANNED, ("a root", True), *UNROLLED])
def test_a_loop_has_the_series_of_its_solution(name, unroll):
    fn, solution, guess = CLOSED[name]
    if solution is None:
        # The inverse of M = x - 0.5 sin x, by Newton's method on series of many digits.
        def solution(t):
            return mp.findroot(lambda x: x - mp.mpf("0.5") * mp.sin(x) - 1 - t, 1.5)

    options = {"unroll": unroll, "fixed_point": ag.FixedPoint(guess={"x": guess})}
    found = ag.series(loop(fn), T, order=ORDER, **options).coefficients
    assert neighbour_error(found, taylor(solution, ORDER, 60)) < 60 * EPS


def test_the_order_costs_one_nonlinear_solve():
    text = str(
        jax.make_jaxpr(lambda t: ag.series(loop(lambda t, x: t + jnp.sin(x) / 2), t, order=9))(T)
    )
    assert text.count("asgard_fixed_point[") == 1


def test_a_loop_of_several_unknowns_has_the_series_of_its_solution():
    def fn(t, z):
        x, y = z
        return jnp.stack([t * y + 1, 0.5 * x + t * t])

    # x = 1 + t y, y = x / 2 + t^2: x = (1 + t^3) / (1 - t / 2).
    vector = (ag.Function(fn, 2) >> ag.Var("z") >> ag.Split()).trace()
    how = ag.FixedPoint(guess={"z": jnp.zeros(2)})
    found = ag.series(vector, T, order=ORDER, fixed_point=how).coefficients
    exact = taylor(lambda t: (1 + t**3) / (1 - t / 2), ORDER)
    assert neighbour_error(found[0], exact) < 20 * EPS
    wires = ag.Function(lambda t, x, y: (t * y + 1, 0.5 * x + t * t), 3, 2)
    scalars = (wires >> ag.Split() @ ag.Split() >> ag.Permute((0, 2, 1, 3))).trace(2)
    x, y = ag.series(scalars, T, order=ORDER)
    assert neighbour_error(x.coefficients, exact) < 20 * EPS
    np.testing.assert_allclose(y.coefficients, found[1], rtol=1e-14)


def test_a_complex_loop_has_the_series_of_its_solution():
    found = ag.series(
        loop(lambda t, z: 1j + t * z * z / 4), ag.Stream([0.0j, 1.0], "t"), order=12
    ).coefficients
    # Of t z^2 / 4 - z + i = 0 the root that is i at 0.
    with mp.workdps(40):
        exact = mp.taylor(lambda t: 2j / (1 + mp.sqrt(1 - 1j * t)), 0, 12)
    np.testing.assert_allclose(found, [complex(c) for c in exact], rtol=1e-13)


@pytest.mark.parametrize("unroll", [False, slow(True)])
def test_a_loop_inside_a_guarded_loop_is_solved_at_each_order(unroll):
    # y' = -x with x + x^3 / 3 = y, so x' = -x / (1 + x^2): t = ln(x0 / x) + (x0^2 - x^2) / 2.
    inner = (ag.Function(lambda y, x: y - x**3 / 3, 2) >> ag.Var("x") >> ag.Split()).trace()
    y0 = 1 + 1 / 3
    whole = (inner >> ag.Scalar(-1.0) >> ag.Register("t", y0) >> ag.Split()).trace()
    found = ag.series(whole, order=ORDER, unroll=unroll).coefficients

    def solution(t):
        # w e^w with w = x^2: x^2 = W(e^(1 - 2 t)).
        x = mp.sqrt(mp.lambertw(mp.exp(1 - 2 * t)))
        return x + x**3 / 3

    with mp.workdps(40):
        exact = [mp.re(c) for c in taylor(solution, ORDER)]
        exact[0] = mp.mpf(y0)
    assert neighbour_error(found, exact) < 200 * EPS


def test_series_in_two_dimensions_are_those_of_the_solution():
    # x = u + t x / 2 with u in (t, s): x = u / (1 - t / 2).
    u = jnp.asarray([[1.0, 2.0, 0.5], [0.3, -1.0, 0.0]])
    circuit = loop(lambda u, x: jnp.sin(u + 0.3 * x))
    found = ag.series(circuit, ag.Stream(u, ("t", "s")), order=6)
    around = ag.series(
        ag.Function(lambda u, x: jnp.sin(u + 0.3 * x), 2),
        ag.Stream(u, ("t", "s")),
        found,
        order=6,
    )
    np.testing.assert_allclose(found.coefficients, around.coefficients, atol=1e-13)


def test_a_wave_with_a_fixed_point_in_it_is_solved_in_both_dimensions():
    # u_t = w_x with w = u + w / 2, so w = 2 u and u(t, x) = f(x + 2 t).
    half = ((ag.Id() @ ag.Scalar(0.5)) >> ag.Add() >> ag.Split()).trace()
    start = ag.Stream([0.0, 1.0, 0.0, 2.0], "x")
    whole = (half >> ag.Deregister("x") >> ag.Register("t", start) >> ag.Split()).trace()
    found = ag.series(whole, order={"t": 3, "x": 3}).coefficients
    exact = np.zeros((4, 4))
    for power, factor in ((1, 1.0), (3, 2.0)):
        for k in range(power + 1):
            exact[k, power - k] += factor * float(mp.binomial(power, k)) * 2**k
    np.testing.assert_allclose(found, exact, rtol=1e-14, atol=1e-14)


@pytest.mark.slow
def test_gradients_of_a_series_are_the_series_of_gradients():
    def run(a):
        circuit = loop(lambda t, x: a + t + 0.5 * jnp.sin(x))
        return ag.series(circuit, T, order=5).coefficients

    # x depends on a + t: the derivative to a is that to t.
    kinds = run, jax.jacfwd(run), jax.jacrev(run), jax.jacfwd(jax.jacrev(run))
    found, forward, reverse, second = jax.jit(lambda a: [kind(a) for kind in kinds])(0.7)
    orders = np.arange(1, 6)
    expected = found[1:] * orders
    for slopes in (forward, reverse):
        np.testing.assert_allclose(slopes[:-1], expected, rtol=1e-10)
    np.testing.assert_allclose(second[:-2], expected[1:] * orders[:-1], rtol=1e-10)


def test_lanes_have_their_own_series():
    def run(e):
        return ag.series(loop(lambda t, x: t + e * jnp.sin(x)), T, order=6).coefficients

    e, one = jnp.linspace(0.1, 0.8, 5), jax.jit(run)
    found = jax.jit(jax.vmap(run))(e)
    np.testing.assert_allclose(found, [one(each) for each in e], rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_many_unknowns_have_their_series_without_a_jacobian():
    size = 520

    def fn(t, z):
        return 1 + t * jnp.roll(z, 1) * z + 0.2 * jnp.roll(z, -1)

    def solved(t):
        circuit = (ag.Function(fn, 2) >> ag.Var("z") >> ag.Split()).trace()
        how = ag.FixedPoint(guess={"z": jnp.zeros(size)})
        return ag.series(circuit, t, order=4, fixed_point=how).coefficients

    found = solved(T)
    # All entries are equal: 0.8 z = 1 + t z^2.
    exact = taylor(lambda t: 2 / (mp.mpf("0.8") + mp.sqrt(mp.mpf("0.64") - 4 * t)), 4)
    np.testing.assert_allclose(found, np.tile([float(c) for c in exact], (size, 1)), rtol=1e-12)


def test_a_missing_series_rule_names_the_atom_of_the_loop_at_fault():
    def zeta(x):
        return jax.scipy.special.zeta(x, 1.0)

    incomplete = ag.Function(zeta, 1)
    solve = ((ag.Id() @ (ag.Scalar(0.1) >> incomplete)) >> ag.Add() >> ag.Split()).trace()
    whole = (solve >> ag.Register("t", 0.5) >> ag.Split()).trace()
    for run in (lambda: ag.series(solve, T, order=1), lambda: ag.simulate(whole, [0.0, 1.0])):
        with pytest.raises(ag.CircuitError, match="'zeta' has no series rule") as raised:
            run()
        assert str(raised.value).startswith("zeta: ")
        assert [str(atom) for atom in raised.value.atoms] == [str(incomplete)]
