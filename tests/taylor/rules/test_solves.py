"""Series of linear solves and factorisations against mpmath, and loops with solves in them."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import cast, closed, equations, neighbour_error, slow, with_values
from jax import lax
from jax.scipy import linalg
from test_functions import exact

import asgard as ag

ORDER = 12
DTYPES = [jnp.float64, slow(jnp.float32)]
MATRIX = np.array([[4.0, 1.0, -0.5], [0.5, 3.0, 1.0], [-1.0, 0.5, 5.0]])
SLOPE = np.array([[0.5, -1.0, 0.25], [1.0, 0.25, 0.5], [-0.25, 0.75, -0.5]])
TIME = [0.0, 1.0]
SIDE = [1.0, -2.0, 0.5]


def matrix(t):
    return jnp.asarray(MATRIX, t.dtype) + t * jnp.asarray(SLOPE, t.dtype)


def side(t):
    return jnp.asarray(SIDE, t.dtype) * jnp.exp(t)


def symmetric(t):
    return matrix(t) + matrix(t).T


def mp_matrix(t):
    return mp.matrix(MATRIX.tolist()) + t * mp.matrix(SLOPE.tolist())


def mp_symmetric(t):
    return mp_matrix(t) + mp_matrix(t).T


def mp_side(t):
    return mp.matrix(SIDE) * mp.exp(t)


def lower(a):
    return mp.matrix([[a[i, j] if j <= i else 0 for j in range(3)] for i in range(3)])


def unit_upper(a):
    return mp.matrix([[a[i, j] if j > i else int(i == j) for j in range(3)] for i in range(3)])


def doolittle(a):
    """L and U packed as `lu_factor` does, of a matrix whose pivots are on the diagonal."""
    a = a.copy()
    for k in range(3):
        for i in range(k + 1, 3):
            a[i, k] /= a[k, k]
            for j in range(k + 1, 3):
                a[i, j] -= a[i, k] * a[k, j]
    return a


def weigh(values):
    """The outputs as one number in which each counts."""
    return sum((k + 1) * v for k, v in enumerate(values)) / 4


def weighted(fn):
    def run(t):
        found = fn(t).ravel()
        return found @ jnp.arange(1, found.size + 1, dtype=t.dtype) / 4

    return run


CASES = {
    "solve": (
        lambda t: jnp.linalg.solve(matrix(t), side(t)),
        lambda t: mp.lu_solve(mp_matrix(t), mp_side(t)),
    ),
    "inv": (lambda t: jnp.linalg.inv(matrix(t)), lambda t: mp.inverse(mp_matrix(t))),
    "det": (
        lambda t: 1 / jnp.linalg.det(matrix(t)),
        lambda t: [1 / mp.det(mp_matrix(t))],
    ),
    "slogdet": (
        lambda t: jnp.linalg.slogdet(matrix(t))[1],
        lambda t: [mp.log(mp.det(mp_matrix(t)))],
    ),
    "cholesky": (
        lambda t: jnp.linalg.cholesky(symmetric(t)),
        lambda t: mp.cholesky(mp_symmetric(t)),
    ),
    "cho_solve": (
        lambda t: linalg.cho_solve(linalg.cho_factor(symmetric(t)), side(t)),
        lambda t: mp.lu_solve(mp_symmetric(t), mp_side(t)),
    ),
    "lu": (lambda t: linalg.lu_factor(matrix(t))[0], lambda t: doolittle(mp_matrix(t))),
    "lu_solve": (
        lambda t: linalg.lu_solve(linalg.lu_factor(matrix(t)), side(t)),
        lambda t: mp.lu_solve(mp_matrix(t), mp_side(t)),
    ),
    "lu, tall": (
        lambda t: linalg.lu_factor(matrix(t)[:, :2])[0],
        lambda t: doolittle(mp_matrix(t))[:, :2],
    ),
    "lu, wide": (
        lambda t: linalg.lu_factor(matrix(t)[:2])[0],
        lambda t: doolittle(mp_matrix(t))[:2, :],
    ),
    "triangular": (
        lambda t: linalg.solve_triangular(matrix(t), side(t), lower=True),
        lambda t: mp.lu_solve(lower(mp_matrix(t)), mp_side(t)),
    ),
    "triangular, transposed, unit diagonal": (
        lambda t: linalg.solve_triangular(matrix(t), side(t), trans=1, unit_diagonal=True),
        lambda t: mp.lu_solve(unit_upper(mp_matrix(t)).T, mp_side(t)),
    ),
    "triangular from the right": (
        lambda t: lax.linalg.triangular_solve(matrix(t), side(t)[None], lower=True),
        lambda t: mp.lu_solve(lower(mp_matrix(t)).T, mp_side(t)),
    ),
    "conjugate gradients": (
        lambda t: jax.scipy.sparse.linalg.cg(
            lambda x: symmetric(t) @ x, side(t), tol=0.0, maxiter=30
        )[0],
        lambda t: mp.lu_solve(mp_symmetric(t), mp_side(t)),
    ),
}


@functools.cache
def expand(dtype):
    """The series of all cases, by one program."""

    def run(t):
        return tuple(weighted(fn)(t) for fn, _ in CASES.values())

    stream = cast(ag.Stream(TIME, "t"), dtype)
    results = ag.series(ag.Function(run, 1, len(CASES)), stream, order=ORDER)
    return {name: r.coefficients for name, r in zip(CASES, results, strict=True)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_linear_algebra_has_the_series_that_mpmath_gives(name, dtype):
    expected = exact(lambda t: weigh(CASES[name][1](t)), TIME, ORDER)
    got = expand(dtype)[name]
    assert got.dtype == dtype
    assert neighbour_error(got, expected) < 128 * float(jnp.finfo(dtype).eps)


def test_linear_algebra_of_complex_matrices():
    hermitian = np.array([[3.0, 1j], [-1j, 2.0]])
    slope = np.array([[0.5, 0.25 - 0.5j], [0.25 + 0.5j, -0.5]])

    def run(t):
        a = jnp.asarray(hermitian) + t * jnp.asarray(slope)
        factor = jnp.linalg.cholesky(a)
        solution = jnp.linalg.solve(a, jnp.asarray([1.0, 1j]))
        return factor[1, 0].imag + factor[1, 1].real, solution[0].real + solution[1].imag

    def factor(t):
        a = [[hermitian[i, j] + t * slope[i, j] for j in range(2)] for i in range(2)]
        first = mp.sqrt(a[0][0].real)
        below = a[1][0] / first
        return below.imag + mp.sqrt(a[1][1].real - abs(below) ** 2)

    def solution(t):
        a = mp.matrix([[hermitian[i, j] + t * slope[i, j] for j in range(2)] for i in range(2)])
        x = mp.lu_solve(a, mp.matrix([1, 1j]))
        return x[0].real + x[1].imag

    results = ag.series(ag.Function(run, 1, 2), ag.Stream(TIME, "t"), order=ORDER)
    for got, function in zip(results, (factor, solution), strict=True):
        assert neighbour_error(got.coefficients, exact(function, TIME, ORDER)) < 1e-13


# In loops


def root(rate):
    """y' = rate / y as a linear solve: y = sqrt(y0² + 2 rate t)."""

    def slope(y):
        one = jnp.ones_like(y)
        a = jnp.stack([jnp.stack([y, 0 * y]), jnp.stack([one, one])])
        return rate * jnp.linalg.solve(a, jnp.ones(2, y.dtype))[0]

    return ag.Function(slope, 1)


@pytest.mark.parametrize("unroll", [False, True], ids=["scan", "unrolled"])
def test_a_solve_in_a_loop(unroll):
    circuit = closed(root(1.0) >> ag.Register("t", 1.25))
    got = ag.series(circuit, order=ORDER, unroll=unroll).coefficients
    expected = exact(lambda t: mp.sqrt(1.5625 + 2 * t), TIME, ORDER)
    assert neighbour_error(got, expected) < 1e-13


@pytest.mark.parametrize("unroll", [False, slow(True)], ids=["scan", "unrolled"])
def test_a_solve_in_a_loop_along_two_dimensions(unroll):
    # u_t = 1 / u from u0(x): u = sqrt(u0(x)² + 2 t). With s = u0², coefficient i in t is
    # binomial(1/2, i) 2^i s^(1/2 - i).
    initial, order = [1.25, 0.5, -0.25], 4
    circuit = closed(root(1.0) >> ag.Register("t", ag.Stream(initial, "x")))
    got = ag.series(circuit, order=order, unroll=unroll).coefficients
    expected = [
        exact(lambda u, i=i: mp.binomial(0.5, i) * 2**i * u ** (1 - 2 * i), initial, order)
        for i in range(order + 1)
    ]
    assert neighbour_error(got, expected) < 1e-13


def test_gradients_and_batches_go_through_solves():
    def run(rate, start):
        circuit = closed(root(rate) >> ag.Register("t", start))
        return ag.series(circuit, order=4).coefficients

    rates, starts = jnp.array([0.5, 1.5]), jnp.array([1.0, 2.0])
    # y = sqrt(s² + 2 r t): coefficient n is binomial(1/2, n) (2 r)^n s^(1 - 2 n).
    n = np.arange(5)
    binomials = np.array([float(mp.binomial(0.5, k)) for k in n])
    slopes, values = jax.jit(jax.vmap(with_values(jax.jacrev, run)))(rates, starts)
    for rate, start, value, slope in zip(rates, starts, values, slopes, strict=True):
        exactly = binomials * (2 * rate) ** n * start ** (1.0 - 2 * n)
        np.testing.assert_allclose(value, exactly, rtol=1e-13)
        np.testing.assert_allclose(slope, n * exactly / rate, rtol=1e-12, atol=1e-14)


def test_a_factor_that_later_orders_do_not_read_is_not_expanded():
    def names(fn):
        stream = ag.Stream(TIME, "t")
        return equations(lambda: ag.series(ag.Function(fn, 1), stream, order=5).coefficients)

    # The factors at order 0 alone: triangular solves are those of the solve itself.
    solve = names(lambda t: jnp.linalg.solve(matrix(t), side(t)))
    assert solve.count("lu") == 1
    constant = names(lambda t: jnp.linalg.solve(matrix(0 * side(t)[0] + 1), jnp.ones(3)))
    assert solve.count("triangular_solve") == constant.count("triangular_solve")


def test_a_singular_matrix_gives_what_is_not_finite():
    def run(t):
        return jnp.linalg.solve(t * jnp.eye(2), jnp.ones(2))[0]

    assert not jnp.isfinite(
        ag.series(ag.Function(run, 1), ag.Stream(TIME, "t"), order=3).coefficients
    ).any()
