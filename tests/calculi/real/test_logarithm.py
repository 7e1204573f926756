"""The logarithm and the exponential of step sizes, against NumPy's."""

import functools

import jax
import numpy as np
import pytest

from asgard.calculi.real.methods.logarithm import (
    exponential,
    logarithm,
    rough_logarithm,
    short_exponential,
)
from asgard.jaxprs.kernel import as_kernel


@functools.partial(jax.jit, static_argnums=0)
def run(fn, x):
    """One program: eagerly each operation of the function is one."""
    return fn(x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nine_digits_over_the_whole_range(dtype):
    info = np.finfo(dtype)
    digits = 1e-9 + 4 * info.eps
    ends = [1 - info.epsneg, 1.0, 1 + info.eps, np.sqrt(0.5), np.sqrt(2.0), info.tiny, info.max]
    x = np.concatenate([np.logspace(-37, 38, 2001), ends]).astype(dtype)
    y = np.log(x)

    def both(x, y):
        return as_kernel(lambda x, y: [logarithm(x), exponential(y)], x, y)

    (found, powers), is_kernel = jax.jit(both)(x, y)
    assert is_kernel
    np.testing.assert_allclose(found, y, rtol=digits, atol=digits)
    # The number, ln 2 and its multiple are rounded, each by half of a digit.
    rounding = digits + 1.5 * info.eps * np.abs(y)
    assert np.all(np.abs(powers / x - 1)[:-2] <= rounding[:-2])  # rounding leaves the range


def test_the_short_exponential_has_five_digits():
    x = np.linspace(-2.31, 2.31, 1001)
    np.testing.assert_allclose(run(short_exponential, x), np.exp(x), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_rough_logarithm_is_within_three_hundredths_and_rises(dtype):
    x = np.logspace(-37, 38, 4001).astype(dtype)
    found = np.asarray(run(rough_logarithm, x))
    assert np.max(np.abs(found - np.log(x))) < 0.0302
    assert np.all(np.diff(found) > 0)
    ends = np.array([0, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(run(rough_logarithm, ends), [-np.inf, np.inf, np.nan])


def test_what_is_no_positive_number():
    given = np.array([0, np.inf, np.nan])
    np.testing.assert_array_equal(run(logarithm, given), [-np.inf, np.inf, np.nan])
    given = np.array([-np.inf, -800.0, np.inf, 800.0, np.nan])
    np.testing.assert_array_equal(run(exponential, given), [0, 0, np.inf, np.inf, np.nan])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_normal_number_makes_no_step_longer(dtype):
    tiny = np.finfo(dtype).tiny
    below = np.array([np.finfo(dtype).smallest_subnormal, tiny / 3], dtype)
    assert np.all(run(logarithm, below) < np.log(tiny))
    assert np.all(run(rough_logarithm, below) < np.log(tiny) + 0.03)
    np.testing.assert_array_equal(run(exponential, np.log(below)), [0, 0])
