"""Which programs compute arrays from constants alone, and what they give with these hoisted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from asgard.jaxprs.hoisting import computes_constants, hoisted
from asgard.jaxprs.program import from_jaxpr

X = np.array([0.5, -0.25, 0.75])


def in_a_row(a, b):
    return jnp.stack([a, b, 1.0])


NOTHING = {
    "arithmetic": lambda x: 2.0 * x + jnp.sin(x) / 3.0,
    "one number in many places": lambda x: jnp.full(3, 2.0) ** 0.5 + x,
    "a range": lambda x: jnp.exp(jnp.arange(3.0)) * x + jnp.arange(6.0).reshape(2, 3)[1],
    "what was an array before": lambda x: X * x,
    "a loop": lambda x: lax.fori_loop(0, 3, lambda i, y: y * jnp.arange(3.0) + i, x),
    "what no output needs": lambda x: (jnp.stack([1.0, 2.0]), x + 1)[1],
}
SOMETHING = {
    "numbers in a row": lambda x: jnp.stack([1.0, 2.0, 3.0]) * x,
    "a range between zeros": lambda x: jnp.pad(jnp.arange(1.0, 2.0), 1) + x,
    "a sum of a range": lambda x: jnp.cumsum(jnp.arange(3.0)) + x,
    "numbers in a row in a loop": lambda x: lax.fori_loop(
        0, 3, lambda i, y: y + jnp.stack([1.0, 2.0, 3.0]), x
    ),
    "numbers in a row in a branch": lambda x: lax.cond(
        x[0] > 0, lambda: x, lambda: jnp.stack([1.0, 2.0, 3.0])
    ),
    "a call with numbers": lambda x: jax.jit(in_a_row)(1.0, 2.0) + x,
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_of_one_number_or_of_a_range_stays(name):
    assert not computes_constants(jax.make_jaxpr(NOTHING[name])(X).jaxpr)


@pytest.mark.parametrize("name", SOMETHING)
def test_arrays_of_constants_are_hoisted(name):
    jaxpr = jax.make_jaxpr(SOMETHING[name])(X)
    assert computes_constants(jaxpr.jaxpr)
    after = jax.make_jaxpr(hoisted(from_jaxpr(jaxpr)))(X)
    assert not computes_constants(after.jaxpr)
    np.testing.assert_array_equal(jax.jit(hoisted(from_jaxpr(jaxpr)))(X)[0], SOMETHING[name](X))


def test_what_numpy_can_make_of_constants_is_no_operation():
    def fn(x):
        rows, columns = (lax.broadcasted_iota(jnp.int32, (3, 3), axis) for axis in (0, 1))
        unit = (rows == columns).astype(x.dtype)
        return jnp.where(rows < 2, unit, 0.0) @ x + jnp.sum(jnp.stack([2.0, 2.0, 2.0])[:, None], 1)

    after = jax.make_jaxpr(hoisted(from_jaxpr(jax.make_jaxpr(fn)(X))))(X)
    names = {equation.primitive.name for equation in after.jaxpr.eqns}
    assert names.isdisjoint({"iota", "eq", "lt", "select_n", "convert_element_type"})
    np.testing.assert_allclose(jax.jit(jaxpr_as_fun(after))(X)[0], fn(X))


def test_a_zero_keeps_its_sign_among_others():
    def fn(x):
        return jnp.atan2(jnp.stack([0.0, 0.0, 0.0]) * jnp.stack([1.0, -1.0, 1.0]), x)

    found = jax.jit(hoisted(from_jaxpr(jax.make_jaxpr(fn)(X))))(-np.abs(X))[0]
    np.testing.assert_array_equal(found, [np.pi, -np.pi, np.pi])
