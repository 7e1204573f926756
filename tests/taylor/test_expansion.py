"""`ag.taylor.expand` and `ag.taylor.ode`: the series engine without circuits."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import drawn, equations, neighbour_error, taylor
from jax import lax
from jax.experimental.jet import jet
from jax.scipy import special

import asgard as ag

EPSILON = float(jnp.finfo(float).eps)


class Pair(NamedTuple):
    first: jax.Array
    second: jax.Array


class Linear(eqx.Module):
    """y' = rate y."""

    rate: jax.Array

    def __call__(self, t, y):
        return self.rate * y


def square(t, y):
    return y * y


def lorenz(t, y):
    a, b, c = y
    return jnp.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c])


def time(order, center=0.0):
    """The coordinate as a stream."""
    return ag.Stream([center, 1.0, *[0.0] * (order - 1)], "t", center)


# The solution, its equation, and where it starts.
SOLUTIONS = {
    "exponential": (mp.exp, lambda t, y: y, 1.0),
    "tangent": (mp.tan, lambda t, y: 1 + y * y, 0.0),
    "logistic": (lambda t: 1 / (1 + mp.exp(-t)), lambda t, y: y * (1 - y), 0.5),
    "bell": (lambda t: mp.exp(-t * t), lambda t, y: -2 * t * y, 1.0),
    "root": (lambda t: mp.sqrt(1 + t), lambda t, y: 0.5 / y, 1.0),
    "integral": (mp.sin, lambda t, y: jnp.cos(t), 0.0),
}


@pytest.mark.parametrize("name", SOLUTIONS)
def test_ode_gives_the_closed_form(name):
    solution, slope, start = SOLUTIONS[name]
    found = ag.taylor.ode(slope, start, order=30)
    assert found.shape == (31,)
    assert neighbour_error(found, np.array(taylor(solution, 30))) < 100 * EPSILON


@pytest.mark.parametrize("order", [0, 1, 2, 20])
def test_every_order_is_a_cut_of_a_higher_one(order):
    start = jnp.array([1.0, 2.0, 3.0])
    found = ag.taylor.ode(lorenz, start, order)
    assert found.shape == (order + 1, 3)
    np.testing.assert_allclose(found, ag.taylor.ode(lorenz, start, 24)[: order + 1], rtol=1e-13)


def test_ode_agrees_with_jet_order_by_order():
    @jax.jit
    def by_jet(start):
        series = [lorenz(0.0, start)]
        for _ in range(7):
            first, rest = jet(lambda y: lorenz(0.0, y), (start,), (series,))
            series = [first, *rest]
        return [s / math.factorial(n) for n, s in enumerate([start, *series])]

    start = jnp.array([1.0, -1.0, 20.0])
    np.testing.assert_allclose(ag.taylor.ode(lorenz, start, 8), by_jet(start), rtol=1e-13)


def test_ode_starts_at_t0():
    found = ag.taylor.ode(lambda t, y: y / t, 3.0, order=5, t0=2.0)  # y = 3 t / 2
    np.testing.assert_allclose(found, [3.0, 1.5, 0, 0, 0, 0], atol=1e-15)


def test_ode_keeps_the_pytree():
    def slope(t, y):
        return {"turn": Pair(-y["turn"].second, y["turn"].first), "rest": [y["rest"][0] * t, None]}

    start = {"turn": Pair(jnp.ones((2, 3)), jnp.zeros((2, 3))), "rest": [1.0, None]}
    found = ag.taylor.ode(slope, start, order=4)
    assert jax.tree.structure(found) == jax.tree.structure(start)
    assert found["turn"].first.shape == (5, 2, 3)
    np.testing.assert_allclose(found["turn"].first[:, 1, 2], [1, 0, -1 / 2, 0, 1 / 24])
    np.testing.assert_allclose(found["turn"].second[:, 0, 0], [0, 1, 0, -1 / 6, 0])
    np.testing.assert_allclose(found["rest"][0], [1, 0, 1 / 2, 0, 1 / 8])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.complex64, jnp.complex128])
@pytest.mark.parametrize("order", [0, 1, 9])
def test_ode_has_the_dtype_of_y0(dtype, order):
    numbers = jnp.linspace(1.0, 2.0, 3)  # float64, whatever y0 is
    found = ag.taylor.ode(lambda t, y: numbers * y, jnp.ones(3, dtype), order)
    assert found.dtype == dtype
    expected = [np.linspace(1, 2, 3) ** n / math.factorial(n) for n in range(order + 1)]
    np.testing.assert_allclose(found, expected, rtol=20 * jnp.finfo(dtype).eps)


def test_ode_mixes_dtypes_and_makes_whole_numbers_floats():
    start = {"a": jnp.float32(1), "b": 2, "c": 1j}
    found = ag.taylor.ode(lambda t, y: {"a": y["a"], "b": 1, "c": 1j * y["c"]}, start, order=2)
    assert [found[key].dtype for key in "abc"] == [jnp.float32, jnp.float64, jnp.complex128]
    np.testing.assert_allclose(found["b"], [2, 1, 0])
    np.testing.assert_allclose(found["c"], [1j, -1, -0.5j])


def test_ode_solves_complex_equations():
    found = ag.taylor.ode(lambda t, y: 1j * y + jnp.exp(1j * t), 1.0 + 0j, order=12)
    # y = (1 + t) e^(it)
    turn = np.array([1j**n / math.factorial(n) for n in range(13)])
    np.testing.assert_allclose(found, turn + np.r_[0, turn[:-1]], rtol=1e-14)


def test_ode_runs_loops_and_solves_in_its_slope():
    def slope(t, y):
        powers = lax.fori_loop(0, 3, lambda _, p: p * y[0], jnp.ones(()))
        moved = jnp.roll(jnp.linalg.solve(2 * jnp.eye(2), y), 1)
        return jnp.stack([powers, moved[1]])

    found = ag.taylor.ode(slope, jnp.array([1.0, 1.0]), order=4)
    # y0' = y0^3 is (1 - 2t)^(-1/2); y1' = y0 / 2
    root = np.array([1, 1, 3 / 2, 5 / 2, 35 / 8])
    np.testing.assert_allclose(found[:, 0], root, rtol=1e-14)
    np.testing.assert_allclose(found[1:, 1], root[:-1] / 2 / np.arange(1, 5), rtol=1e-14)


def test_gradients_of_coefficients():
    order = 6

    def last(rate, start, t0):
        return ag.taylor.ode(lambda t, y: rate * t * y, start, order, t0=t0)[2]

    # y = y0 exp(r (t^2 - t0^2) / 2): coefficient 2 is y0 (r + r^2 t0^2) / 2
    found = jax.jit(jax.grad(last, argnums=(0, 1, 2)))(0.5, 2.0, 3.0)
    np.testing.assert_allclose(found, [1 + 9.0, (0.5 + 2.25) / 2, 0.25 * 3.0 * 2], rtol=1e-13)
    start = jnp.array([1.0, 2.0, 3.0])
    kinds = [kind(lambda y: ag.taylor.ode(lorenz, y, order)) for kind in (jax.jacfwd, jax.jacrev)]
    forward, reverse = jax.jit(lambda y: [kind(y) for kind in kinds])(start)
    np.testing.assert_allclose(forward, reverse, rtol=1e-12, atol=1e-9)


def test_gradient_by_a_module():
    slope = jax.jit(jax.grad(lambda model: ag.taylor.ode(model, 1.0, 4)[-1]))
    slopes = slope(Linear(jnp.array(2.0)))
    np.testing.assert_allclose(slopes.rate, 4 * 2.0**3 / 24)


def test_vmap_is_a_loop():
    starts = jnp.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])
    found = jax.jit(jax.vmap(lambda y: ag.taylor.ode(lorenz, y, 8)))(starts)
    np.testing.assert_allclose(found, [ag.taylor.ode(lorenz, y, 8) for y in starts], rtol=1e-13)


def test_jit_and_the_call_from_outside_agree():
    inside = jax.jit(lambda y: ag.taylor.ode(square, y, 10))(0.5)
    np.testing.assert_array_equal(inside, ag.taylor.ode(square, 0.5, 10))


def test_ode_within_ode():
    # d/dt of y is coefficient 1 of z' = y z, z(0) = 1, which is y
    found = ag.taylor.ode(lambda t, y: ag.taylor.ode(lambda s, z: y * z, 1.0, 2)[1], 1.0, 5)
    np.testing.assert_allclose(found, [1 / math.factorial(n) for n in range(6)], rtol=1e-14)


def test_compiles_once_for_one_function():
    traces = []

    def slope(t, y):
        traces.append(None)
        return -y

    ag.taylor.ode(slope, 1.0, 5)
    first = len(traces)
    for start in (2.0, 3.0):
        ag.taylor.ode(slope, start, 5, t0=start)
    assert len(traces) == first > 0
    ag.taylor.ode(slope, 1.0, 6)
    assert len(traces) > first


def test_a_module_of_other_numbers_is_no_new_function():
    traces = []

    class Counted(Linear):
        def __call__(self, t, y):
            traces.append(None)
            return super().__call__(t, y)

    ag.taylor.ode(Counted(jnp.array(2.0)), 1.0, 5)
    first = len(traces)
    found = ag.taylor.ode(Counted(jnp.array(3.0)), 1.0, 5)
    assert len(traces) == first
    np.testing.assert_allclose(found[1], 3.0)


def test_the_program_does_not_grow_with_the_order():
    def program(order):
        return equations(lambda y: ag.taylor.ode(lorenz, y, order), jnp.ones(3))

    assert len(program(5)) == len(program(200))


# What is asked, and a part of the message.
WRONG_ODES = {
    "no function": (lambda: ag.taylor.ode(1.0, 1.0, 3), "takes a function"),
    "negative order": (lambda: ag.taylor.ode(square, 1.0, -1), "order must be an integer"),
    "order no number": (lambda: ag.taylor.ode(square, 1.0, "3"), "order must be an integer"),
    "order a bool": (lambda: ag.taylor.ode(square, 1.0, True), "order must be an integer"),
    "no numbers": (lambda: ag.taylor.ode(square, {}, 3), "at least one number"),
    "a name": (lambda: ag.taylor.ode(square, "one", 3), "y0 must be numbers"),
    "complex time": (lambda: ag.taylor.ode(square, 1.0, 3, t0=1j), "t0 must be a real number"),
    "many times": (lambda: ag.taylor.ode(square, 1.0, 3, t0=jnp.ones(2)), "t0 must be a real"),
    "structure": (lambda: ag.taylor.ode(lambda t, y: (y,), 1.0, 0), "must return what y0 is"),
    "missing key": (
        lambda: ag.taylor.ode(lambda t, y: {"a": y["a"]}, {"a": 1.0, "b": 1.0}, 3),
        "must return what y0 is",
    ),
    "shape": (lambda: ag.taylor.ode(lambda t, y: y[:2], jnp.ones(3), 3), r"returns float64\[2\]"),
    "widened": (lambda: ag.taylor.ode(lambda t, y: 1j * y, 1.0, 3), "returns complex128"),
    "a name back": (lambda: ag.taylor.ode(lambda t, y: "y", 1.0, 3), "must be numbers"),
    "branch": (
        lambda: ag.taylor.ode(lambda t, y: y if y > 0 else -y, 1.0, 3),
        "<lambda> cannot be evaluated.*jnp.where in place of if",
    ),
    "fault inside": (
        lambda: ag.taylor.ode(lambda t, y: y + jnp.ones(4), jnp.ones(3), 3),
        r"cannot be evaluated.*float64\[3\]",
    ),
    "no rule": (lambda: ag.taylor.ode(lambda t, y: special.zeta(y, 1.0), 1.0, 3), "'zeta'"),
}


@pytest.mark.parametrize("name", WRONG_ODES)
@pytest.mark.usefixtures("unchecked")
def test_wrong_odes_are_refused_by_name(name):
    run, message = WRONG_ODES[name]
    with pytest.raises(ag.CircuitError, match=message):
        run()


def test_expand_composes():
    found = ag.taylor.expand(lambda x: jnp.exp(jnp.sin(x)), time(20))
    exact = np.array(taylor(lambda x: mp.exp(mp.sin(x)), 20))
    assert neighbour_error(found.coefficients, exact) < 100 * EPSILON


def test_expand_is_the_series_of_a_function_atom():
    def fn(x, y):
        return jnp.tanh(x) / y, x * y

    streams = time(8, 0.3), ag.Stream([2.0, 0.5], "t", 0.3)
    expected = ag.series(ag.Function(fn, 2, 2), *streams, order=8)
    for found, stream in zip(ag.taylor.expand(fn, *streams), expected, strict=True):
        np.testing.assert_array_equal(found.coefficients, stream.coefficients)
        assert found.dims == stream.dims
        np.testing.assert_array_equal(found.center, [0.3])


def test_expand_keeps_pytrees_on_both_sides():
    def fn(state, shift):
        return {"sum": state.first + state.second, "rest": [shift * state.first, 2]}

    state = Pair(ag.Stream([[1.0, 1.0], [0.0, 2.0]], "t"), ag.Stream([0.5], "t"))
    found = ag.taylor.expand(fn, state, ag.Stream([0.0, 0.0, 1.0], "t"))
    assert set(found) == {"sum", "rest"}
    np.testing.assert_allclose(found["sum"].coefficients, [[1.5, 1, 0], [0.5, 2, 0]])
    np.testing.assert_allclose(found["rest"][0].coefficients, [[0, 0, 1], [0, 0, 0]])
    np.testing.assert_allclose(found["rest"][1].coefficients, [2, 0, 0])


def test_expand_spans_the_dimensions_of_all_streams_to_their_largest_orders():
    x = ag.Stream([1.0, 1.0, 0.0], "x", 1.0)
    y = ag.Stream([[2.0, 1.0], [1.0, 0.0]], ("y", "x"), (2.0, 1.0))
    found = ag.taylor.expand(jnp.multiply, x, y)
    assert found.dims == ("x", "y")
    assert found.coefficients.shape == (3, 2)
    np.testing.assert_allclose(found.center, [1.0, 2.0])
    np.testing.assert_allclose(found.coefficients, [[2, 1], [3, 1], [1, 0]])


def test_expand_gives_mixed_derivatives():
    x, y = ag.Stream([0.5, 1.0, 0.0], "x"), ag.Stream([0.25, 1.0, 0.0], "y")

    def fn(x, y):
        return jnp.sin(x * y + x)

    found = ag.taylor.expand(fn, x, y).derivatives()
    expected = jax.grad(jax.grad(jax.grad(fn, 0), 0), 1)(0.5, 0.25)
    np.testing.assert_allclose(found[2, 1], expected, rtol=1e-14)


def test_expand_in_float32():
    found = ag.taylor.expand(jnp.exp, ag.Stream(jnp.array([0.0, 1, 0, 0], jnp.float32), "t"))
    assert found.coefficients.dtype == jnp.float32
    np.testing.assert_allclose(found.coefficients, [1, 1, 1 / 2, 1 / 6], rtol=1e-6)


def test_expand_of_a_module_under_grad_and_vmap():
    model = drawn(eqx.nn.MLP, 2, "scalar", 8, 2, activation=jnp.tanh)

    def laplacian(model, x):
        def along(direction):
            line = jnp.stack([x, direction, jnp.zeros(2)], axis=-1)
            return 2 * ag.taylor.expand(model, ag.Stream(line, "s")).coefficients[2]

        return jnp.sum(jax.vmap(along)(jnp.eye(2)))

    def exact(model, x):
        return jnp.trace(jax.hessian(model)(x))

    @eqx.filter_jit
    def both(model, x):
        return [eqx.filter_value_and_grad(fn)(model, x) for fn in (laplacian, exact)]

    (value, found), (expected_value, expected) = both(model, jnp.array([0.3, -0.2]))
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_expand_compiles_once_for_one_function():
    traces = []

    def fn(x):
        traces.append(None)
        return jnp.sin(x)

    ag.taylor.expand(fn, ag.Stream([0.0, 1.0, 0.0], "t"))
    first = len(traces)
    for start in (1.0, 2.0):
        ag.taylor.expand(fn, ag.Stream([start, 1.0, 0.0], "t", start))
    assert len(traces) == first > 0
    ag.taylor.expand(fn, ag.Stream([0.0, 1.0], "t"))
    assert len(traces) > first


def test_the_derivatives_of_a_solution_by_a_parameter():
    found = ag.taylor.expand(
        lambda rate: ag.taylor.ode(lambda t, y: rate * y, 1.0, 3),
        ag.Stream([1.0, 1.0, 0.0, 0.0], "rate"),
    )
    expected = [[math.comb(n, k) / math.factorial(n) for k in range(4)] for n in range(4)]
    np.testing.assert_allclose(found.coefficients, expected, rtol=1e-14)


def other_centre():
    return ag.taylor.expand(jnp.add, time(2), time(2, 1.0))


# What is asked, and a part of the message.
WRONG_EXPANSIONS = {
    "no function": (lambda: ag.taylor.expand(1.0, time(2)), "takes a function"),
    "no stream": (lambda: ag.taylor.expand(jnp.sin, 1.0), "takes streams, not float"),
    "nothing": (lambda: ag.taylor.expand(jnp.sin), "at least one stream"),
    "another centre": (other_centre, "streams along t are about different centres"),
    "too many": (lambda: ag.taylor.expand(jnp.sin, time(2), time(2)), "cannot be evaluated"),
    "a name back": (lambda: ag.taylor.expand(lambda x: "x", time(2)), "must be numbers"),
    "no rule": (lambda: ag.taylor.expand(lambda x: special.zeta(x, 1.0), time(2)), "'zeta'"),
}


@pytest.mark.parametrize("name", WRONG_EXPANSIONS)
@pytest.mark.usefixtures("unchecked")
def test_wrong_expansions_are_refused_by_name(name):
    run, message = WRONG_EXPANSIONS[name]
    with pytest.raises(ag.CircuitError, match=message):
        run()


def test_where_centres_are_traced_a_mismatch_is_nan():
    found = jax.jit(lambda center: ag.taylor.expand(jnp.add, time(2), time(2, center)).center)
    assert jnp.isnan(found(1.0)).all()
    np.testing.assert_array_equal(found(0.0), [0.0])
