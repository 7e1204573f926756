"""Floating-point numbers as exponents and mantissas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asgard.jaxprs.floats import exponent_and_mantissa, polynomial, power_of_two


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_is_its_mantissa_by_a_power_of_two(dtype):
    info, root = np.finfo(dtype), np.sqrt(dtype(0.5))
    ends = [info.tiny, info.max, 1.0, 1 - info.epsneg, root, np.nextafter(root, dtype(0))]
    x = np.concatenate([np.logspace(-37, 38, 501), ends]).astype(dtype)
    exponent, mantissa = map(np.asarray, jax.jit(exponent_and_mantissa)(x))
    np.testing.assert_array_equal(np.ldexp(mantissa, exponent), x)
    assert np.all((mantissa >= root) & (mantissa < 2 * root))
    # The largest number has an exponent of which 2^e is no number.
    exponent = np.minimum(exponent, info.maxexp - 1)
    exponent = np.maximum(exponent, info.minexp)
    powers = jax.jit(power_of_two)(exponent.astype(dtype))
    np.testing.assert_array_equal(powers, np.ldexp(dtype(1), exponent))


def test_a_polynomial_is_a_sum_of_powers():
    x = jnp.array([-2.0, 0.0, 0.5])
    np.testing.assert_array_equal(polynomial([1.0, 2.0, 3.0], x), 1 + 2 * x + 3 * x**2)
    np.testing.assert_array_equal(polynomial([4.0], x), [4.0] * 3)
