"""Streams: polynomials with named dimensions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asgard as ag
from asgard.circuits.stream import horner, largest_factorial_order


def test_derivatives_are_factorials_times_coefficients():
    stream = ag.Stream.from_derivatives([2, 3, 1], ("x",))
    assert stream.coefficients.tolist() == [2.0, 3.0, 0.5]
    assert stream.derivatives().tolist() == [2.0, 3.0, 1.0]
    both = ag.Stream.from_derivatives(np.full((2, 3, 4), 12.0), ("x", "y"), (1.0, 2.0))
    assert both.coefficients[0].tolist() == [[12.0, 12.0, 6.0, 2.0]] * 2 + [[6.0, 6.0, 3.0, 1.0]]
    assert both.derivatives().tolist() == np.full((2, 3, 4), 12.0).tolist()
    assert both.center.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("dtype", "limit"), [(jnp.float32, 33), (jnp.float64, 170)])
def test_derivatives_end_where_the_dtype_does(dtype, limit):
    assert largest_factorial_order(dtype) == limit
    held = ag.Stream(jnp.ones(limit + 1, dtype), "t")
    assert jnp.isfinite(held.derivatives()).all()
    again = ag.Stream.from_derivatives(held.derivatives(), "t")
    np.testing.assert_allclose(again.coefficients, 1.0, rtol=2 * float(jnp.finfo(dtype).eps))
    message = f"order {limit + 1} along t is past what {jnp.dtype(dtype)} holds.*order {limit};"
    past = jnp.ones(limit + 2, dtype)
    with pytest.raises(ag.CircuitError, match=message):
        ag.Stream(past, "t").derivatives()
    with pytest.raises(ag.CircuitError, match=message):
        ag.Stream.from_derivatives(past, "t")
    # Coefficients go as far as one likes.
    assert ag.Stream(past, "t").evaluate(t=0.0) == 1.0


def test_evaluation_at_a_point_on_a_row_and_on_a_grid():
    stream = ag.Stream([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], ("x", "y"))

    def exact(x, y):
        return 1 + 2 * y + 3 * x + 4 * x * y + 5 * x**2 + 6 * x**2 * y

    x, y = np.linspace(-1, 1, 4), np.linspace(0, 2, 5)
    assert stream.evaluate(x=2.0, y=3.0) == exact(2.0, 3.0)
    assert stream.evaluate(x=2.0, y=3.0).shape == ()
    np.testing.assert_allclose(stream.evaluate(x=x, y=3.0), exact(x, 3.0), rtol=1e-14)
    np.testing.assert_allclose(stream.evaluate(y=y, x=2.0), exact(2.0, y), rtol=1e-14)
    grid = stream.evaluate(x=x, y=y)
    np.testing.assert_allclose(grid, exact(x[:, None], y[None, :]), rtol=1e-13)
    block = stream.evaluate(x=x.reshape(2, 2), y=y)
    np.testing.assert_allclose(block, grid.reshape(2, 2, 5), rtol=1e-14)


def test_evaluation_is_about_the_centre():
    assert ag.Stream([1.0, 1.0], "t", 2.0).evaluate(t=5.0) == 4.0
    stream = ag.Stream([[0.0, 0.0], [0.0, 1.0]], ("x", "y"), (1.0, 2.0))
    assert stream.evaluate(x=4.0, y=7.0) == 15.0
    assert (stream.center_of("x"), stream.center_of("y")) == (1.0, 2.0)


def test_values_of_any_shape_come_before_the_grid():
    coefficients = np.arange(24.0).reshape(2, 3, 4)
    stream = ag.Stream(coefficients, "t")
    assert (stream.value_shape, stream.orders_given) == ((2, 3), (4,))
    points = np.linspace(-1, 1, 5)
    exact = sum(coefficients[:, :, n, None] * points**n for n in range(4))
    np.testing.assert_allclose(stream.evaluate(t=points), exact, rtol=1e-13, atol=1e-13)
    assert stream.evaluate(t=1.0).shape == (2, 3)
    constant = ag.Stream([1.0, 2.0], ())
    assert constant.evaluate().tolist() == constant.derivatives().tolist() == [1.0, 2.0]


def test_integers_become_floats_and_dtypes_are_kept():
    assert ag.Stream([1, 2], "t").coefficients.dtype == jnp.float64
    single = ag.Stream(jnp.ones(3, jnp.float32), "t")
    assert single.center.dtype == single.derivatives().dtype == jnp.float32
    assert single.evaluate(t=jnp.float32(0.5)).dtype == jnp.float32
    complex_ = ag.Stream([1j, 1.0], "t")
    assert complex_.center.dtype == jnp.float64
    assert complex_.evaluate(t=2.0) == 2 + 1j


def test_streams_are_pytrees():
    stream = ag.Stream([1.0, 2.0, 3.0], "t", 0.5)

    @jax.jit
    def transformed(stream, rows):
        stacked = jax.vmap(lambda c: ag.Stream(c, "t"))(rows)
        return (
            jax.value_and_grad(lambda t: stream.evaluate(t=t))(1.5),
            jax.grad(lambda s: s.evaluate(t=2.5))(stream),
            jax.vmap(lambda s: s.evaluate(t=2.0))(stacked),
        )

    slope, gradient, values = transformed(stream, np.eye(3))
    np.testing.assert_allclose(slope, (6.0, 8.0))
    assert gradient.coefficients.tolist() == [1.0, 2.0, 4.0]
    assert gradient.center == -14.0
    assert values.tolist() == [1.0, 2.0, 4.0]
    assert repr(stream) == "Stream(float64[3], dims=('t',))"


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=4, max_size=4), st.floats(-2, 2))
def test_horner_sums_powers(coefficients, offset):
    exact = math.fsum(c * offset**n for n, c in enumerate(coefficients))
    got = jax.jit(horner)(jnp.asarray(coefficients), jnp.asarray(offset))
    assert abs(got - exact) < 1e-12 * sum(abs(c) * 2**n for n, c in enumerate(coefficients)) + 1e-15
