"""Series along several dimensions at once."""

import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import closed, equations, neighbour_error, polynomial, slow

import asgard as ag

HEAT = (
    ag.Add()
    >> ag.Split()
    >> ag.Id() @ (ag.Deregister("x") >> ag.Deregister("x") >> ag.Register("t"))
).trace()  # u = u0 + ∫ u_xx dt
DRIVERS = pytest.mark.parametrize("unroll", [False, True], ids=["scan", "unrolled"])
TIERED_DRIVERS = pytest.mark.parametrize("unroll", [False, slow(True)], ids=["scan", "unrolled"])


def factorials(n):
    return np.array([float(math.factorial(k)) for k in range(n + 1)])


@DRIVERS
def test_the_heat_equation_of_polynomial_data(unroll):
    result = ag.series(
        HEAT, ag.Stream([1, 2, 3, 4, 5, 6, 7], "x"), order={"t": 4, "x": 7}, unroll=unroll
    )
    # u(t, x) = the sum over k of u0^(2k)(x) t^k / k!
    data = np.polynomial.Polynomial([1, 2, 3, 4, 5, 6, 7])
    exact = np.zeros((5, 8))
    for k in range(5):
        row = data.deriv(2 * k).coef / math.factorial(k)
        exact[k, : len(row)] = row
    assert result.dims == ("t", "x")
    np.testing.assert_allclose(result.coefficients, exact, rtol=1e-14)


def test_the_heat_equation_of_an_exponential():
    # u = e^(x + t). Order 6 in t reads 12 orders in x past those asked for.
    orders_t, orders_x = 6, 8
    exact = 1 / np.outer(factorials(orders_t), factorials(orders_x))
    data = ag.Stream(1 / factorials(orders_x + 2 * orders_t), "x")
    result = ag.series(HEAT, data, order={"t": orders_t, "x": orders_x})
    np.testing.assert_allclose(result.coefficients, exact, rtol=1e-14)
    # As an initial content, and with the heat equation's derivatives after the register.
    register = ag.Register("t", data)
    loop = closed(ag.Deregister("x") >> register >> ag.Deregister("x") >> ag.Id())
    result = ag.series(loop, order={"t": orders_t, "x": orders_x - 2})
    np.testing.assert_allclose(result.coefficients, exact[:, :-2], rtol=1e-14)


def test_data_that_end_are_a_polynomial():
    # All orders given in x are asked for: the data are cut at x^5, and so is what they become.
    data = ag.Stream(1 / factorials(5), "x")
    result = ag.series(HEAT, data, order={"t": 3, "x": 5}).coefficients
    exact = [
        [1 / math.factorial(j) / math.factorial(i) * (2 * i + j <= 5) for j in range(6)]
        for i in range(4)
    ]
    np.testing.assert_allclose(result, exact, rtol=1e-14)


def test_the_wave_equation():
    # u_tt = u_xx from sin x at rest: sin x cos t.
    n = 7
    sine = np.array([0, 1, 0, -1] * 6)[: 2 * n + 1] / factorials(2 * n)
    second = ag.Register("t") >> ag.Register("t", ag.Stream(sine, "x"))
    loop = closed(ag.Deregister("x") >> second >> ag.Deregister("x"))  # of u_x, then u
    result = ag.series(loop, order={"t": n, "x": n - 1}).coefficients
    cosine = np.array([1, 0, -1, 0] * 6)[: n + 1] / factorials(n)
    exact = np.outer(cosine, np.array([1, 0, -1, 0] * 6)[:n] / factorials(n - 1))
    np.testing.assert_allclose(result, exact, rtol=1e-13, atol=1e-17)


@TIERED_DRIVERS
@pytest.mark.parametrize("power", [1, 2])
def test_burgers_equation(power, unroll):
    # u_t = -u u_x from x: u = x / (1 + t), a nonlinearity of a derivative in the loop.
    body = (
        ag.Split()
        >> ag.Id() @ ag.Deregister("x")
        >> ag.Multiplication()
        >> ag.Scalar(-1.0)
        >> ag.Register("t", ag.Stream([0.0, 1.0], "x"))
    )
    result = ag.series(closed(body), order={"t": 5, "x": power}, unroll=unroll).coefficients
    exact = np.zeros((6, power + 1))
    exact[:, 1] = (-1.0) ** np.arange(6)
    np.testing.assert_allclose(result, exact, atol=1e-15)


@DRIVERS
def test_an_exponential_right_hand_side(unroll):
    # u_t = e^u: u = -log(e^(-u0(x)) - t)
    initial = [0.125, 0.25, -0.5]
    circuit = closed(ag.Exp() >> ag.Register("t", ag.Stream(initial, "x")))
    order = 6 if unroll else 8
    result = ag.series(circuit, order=order, unroll=unroll)
    with mp.workdps(40):
        # Coefficient i in t is e^(i u0) / i, of which mpmath expands the rest in x.
        exact = [mp.taylor(lambda x: polynomial(initial, x), 0, order)] + [
            mp.taylor(lambda x, i=i: mp.exp(i * polynomial(initial, x)) / i, 0, order)
            for i in range(1, order + 1)
        ]
    assert result.dims == ("t", "x")
    assert neighbour_error(result.coefficients, exact) < 1e-12


BOTH = (ag.Add(3) >> ag.Split(3) >> ag.Id() @ ag.Register("t") @ ag.Register("x")).trace(
    2
)  # u = input + ∫ u dt + ∫ u dx


@DRIVERS
def test_a_loop_along_two_dimensions_counts_paths(unroll):
    result = ag.series(BOTH, ag.Stream(1.0, ()), order=7, unroll=unroll)
    # The derivatives are the binomials: the ways to get to (i, j).
    exact = [[math.comb(i + j, i) for j in range(8)] for i in range(8)]
    np.testing.assert_allclose(result.derivatives(), exact, rtol=1e-14)


def test_a_loop_along_two_dimensions_is_a_scan_in_a_scan():
    def run(order):
        return equations(lambda: ag.series(BOTH, ag.Stream(1.0, ()), order=order).coefficients)

    # One scan along x for order 0 in t, and one inside the scan along t.
    assert run(10).count("scan") == 3
    assert run(10) == run(60)


def test_a_loop_along_three_dimensions():
    loop = (ag.Add(4) >> ag.Split(4) >> ag.Monoidal(ag.Id(), *map(ag.Register, "txy"))).trace(3)
    result = ag.series(loop, ag.Stream(1.0, ()), order={"t": 2, "x": 3, "y": 2}).derivatives()
    exact = [
        [
            [
                math.factorial(i + j + k) / math.prod(map(math.factorial, (i, j, k)))
                for k in range(3)
            ]
            for j in range(4)
        ]
        for i in range(3)
    ]
    np.testing.assert_allclose(result, exact, rtol=1e-14)


def test_heat_in_a_plane():
    # u_t = u_xx + u_yy from x^4 y^2.
    laplace = (
        ag.Split()
        >> (ag.Deregister("x") >> ag.Deregister("x")) @ (ag.Deregister("y") >> ag.Deregister("y"))
        >> ag.Add()
    )
    data = jnp.zeros((5, 3)).at[4, 2].set(1.0)
    loop = closed(laplace >> ag.Register("t", ag.Stream(data, ("x", "y"))))
    result = ag.series(loop, order={"t": 3, "x": 4, "y": 2}).coefficients
    exact = np.zeros((4, 5, 3))
    exact[0, 4, 2] = 1
    exact[1, 2, 2], exact[1, 4, 0] = 12, 2  # its Laplacian
    exact[2, 0, 2], exact[2, 2, 0] = 12, 24  # half of the Laplacian's
    exact[3, 0, 0] = 24
    np.testing.assert_allclose(result, exact, rtol=1e-14)


@TIERED_DRIVERS
def test_products_and_exponentials_of_streams_in_two_dimensions(unroll):
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(4, 3)), rng.normal(size=(2, 5))
    streams = ag.Stream(left, ("x", "y")), ag.Stream(right, ("x", "y"))
    product = ag.series(
        ag.Multiplication(), *streams, order={"x": 5, "y": 7}, unroll=unroll
    ).coefficients
    exact = np.zeros((6, 8))
    for i in range(2):
        for j in range(5):
            exact[i : i + 4, j : j + 3] += right[i, j] * left
    np.testing.assert_allclose(product, exact[:6, :8], rtol=1e-13, atol=1e-14)

    # exp(x + 2 y + x y): the coefficients of e^x e^((2 + x) y)
    argument = ag.Stream([[0.0, 2.0], [1.0, 1.0]], ("x", "y"))
    order = 3 if unroll else 6
    got = ag.series(ag.Exp(), argument, order=order, unroll=unroll).coefficients
    exponential = np.polynomial.Polynomial(1 / factorials(order))
    columns = [
        (exponential * np.polynomial.Polynomial([2, 1]) ** j).coef[: order + 1] / math.factorial(j)
        for j in range(order + 1)
    ]
    np.testing.assert_allclose(got, np.stack(columns, axis=-1), rtol=1e-13)


def test_streams_of_different_dimensions_meet():
    x, y = ag.Stream([1.0, 2.0], "x"), ag.Stream([3.0, 4.0], "y")
    product = ag.series(ag.Multiplication(), x, y, order=1)
    assert product.dims == ("x", "y")
    assert product.coefficients.tolist() == [[3.0, 4.0], [6.0, 8.0]]


def test_orders_in_either_sequence_give_the_same_function():
    data = ag.Stream([0.0, 0.0, 0.0, 0.0, 1.0], "x")
    first = ag.series(HEAT, data, order={"t": 2, "x": 4})
    second = ag.series(HEAT, data, order={"x": 4, "t": 2})
    assert (first.dims, second.dims) == (("t", "x"), ("x", "t"))
    assert (first.coefficients == second.coefficients.T).all()
    assert first.evaluate(t=2.0, x=3.0) == second.evaluate(x=3.0, t=2.0) == 81 + 12 * 9 * 2 + 48


def test_values_have_axes_before_those_of_two_dimensions():
    rates = jnp.array([1.0, 2.0])
    loop = closed(ag.Scalar(rates) >> ag.Register("t", ag.Stream([1.0, 1.0], "x")))
    result = ag.series(loop, order={"t": 3, "x": 1})
    assert result.coefficients.shape == (2, 4, 2)
    exact = [[[r**n] * 2 for n in range(4)] for r in (1, 2)]
    np.testing.assert_allclose(result.derivatives(), exact, rtol=1e-15)


def test_gradients_in_two_dimensions():
    def run(rate):
        loop = closed(ag.Scalar(rate) >> ag.Exp() >> ag.Register("t", ag.Stream([0.0, 1.0], "x")))
        return ag.series(loop, order={"t": 2, "x": 2}).coefficients

    # u_t = e^(r u): u = x + t e^(r x) + r t² e^(2 r x) / 2 + …
    forward, reverse = jax.jit(lambda r: (jax.jacfwd(run)(r), jax.jacrev(run)(r)))(1.0)
    exact = [[0, 0, 0], [0, 1, 1], [0.5, 2, 3]]
    np.testing.assert_allclose(forward, exact, atol=1e-14)
    np.testing.assert_allclose(reverse, exact, atol=1e-14)


def test_centres_are_kept_by_dimension():
    product = ag.series(
        ag.Multiplication(),
        ag.Stream([1.0, 1.0], "x", 2.0),
        ag.Stream([1.0, 1.0], "y", 3.0),
        order=1,
    )
    assert product.center.tolist() == [2.0, 3.0]
    assert product.evaluate(x=5.0, y=7.0) == 4.0 * 5.0


def test_streams_about_different_centres_are_refused():
    one, other = ag.Stream([1.0], "t", 1.0), ag.Stream([1.0], "t", 2.0)
    with pytest.raises(ag.CircuitError, match="along t are about different centres"):
        ag.series(ag.Add(), one, other, order=1)
    initial = ag.Register("t", ag.Stream([1.0], "x", 1.0))
    with pytest.raises(ag.CircuitError, match="along x are about different centres"):
        ag.series(initial, ag.Stream([1.0], "x"), order=1)
    traced = jax.jit(lambda s: ag.series(ag.Add(), s, other, order=1))(one)
    assert jnp.isnan(traced.center)
