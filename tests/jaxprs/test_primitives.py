"""The table of primitives: one row is all that a primitive of one's own needs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

from asgard.jaxprs.kernel import as_kernel
from asgard.jaxprs.lanes import run_in_lanes
from asgard.jaxprs.primitives import TABLE, Kernel, Traits, traits
from asgard.jaxprs.program import trace

# It has no batching rule, so it runs in lanes by its row or not at all.
_twice = Primitive("test_twice")
_twice.def_abstract_eval(lambda x: x)
mlir.register_lowering(_twice, mlir.lower_fun(lambda x: x + x, multiple_results=False))


def in_lanes(x):
    program = trace(lambda x: (_twice.bind(x),), jax.ShapeDtypeStruct(x.shape[:-1], x.dtype))
    return run_in_lanes(program, [(x, True)], x.shape[-1])[0][0]


def is_kernel(x):
    found = []
    jax.jit(lambda x: found.append(as_kernel(lambda x: [_twice.bind(x)], x)[1])).lower(x)
    return found[0]


def test_a_primitive_without_a_row_is_no_part_of_lanes_or_kernels():
    assert traits(_twice.name) == Traits()
    x = jnp.ones((2, 3))
    # A function of its own each time: JAX would give what it traced for the other test.
    with pytest.raises(NotImplementedError, match="Batching rule"):
        jax.jit(lambda x: in_lanes(x))(x)
    assert not is_kernel(x)


def test_a_row_makes_a_primitive_a_part_of_lanes_and_kernels(monkeypatch):
    row = Traits(elementwise=True, computes=True, kernel=Kernel.SMALL)
    monkeypatch.setitem(TABLE, _twice.name, row)
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(jax.jit(lambda x: in_lanes(x))(x), 2 * x)
    assert is_kernel(x)


def test_polynomials_are_parts_of_lanes_and_kernels():
    polynomial = getattr(lax, "polynomial", None)
    one_minus_square = getattr(lax, "one_minus_square", None)
    if polynomial is None or one_minus_square is None:
        pytest.skip("jax below 0.12 has no such primitives")

    def fn(x, slopes):
        return [polynomial(x, [1.0, slopes, 0.5]), one_minus_square(x)]

    x, slopes = jnp.arange(6.0).reshape(3, 2), jnp.array([2.0, -1.0])
    program = trace(fn, jax.ShapeDtypeStruct((3,), x.dtype), jax.ShapeDtypeStruct((), x.dtype))
    found = jax.jit(lambda *xs: run_in_lanes(program, [(one, True) for one in xs], 2))(x, slopes)
    np.testing.assert_allclose(found[0][0], 1 + x * (slopes + 0.5 * x))
    np.testing.assert_allclose(found[1][0], 1 - x * x)
    kernels = []
    jax.jit(lambda x: kernels.append(as_kernel(lambda x: fn(x, 2.0), x)[1])).lower(x)
    assert kernels == [True]
