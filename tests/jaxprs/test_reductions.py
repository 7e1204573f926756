"""Sums and extremes of few rows, written out."""

import jax
import numpy as np
import pytest

from asgard.jaxprs.reductions import FEW, largest, smallest, total


@jax.jit
def all_three(values):
    return total(values), largest(values), smallest(values)


@pytest.mark.parametrize("count", [1, 3, FEW, FEW + 1])
@pytest.mark.parametrize("tail", [(), (5,)])
def test_they_are_those_of_numpy(count, tail):
    values = np.random.default_rng(count).normal(size=(count, *tail))
    sums, most, least = all_three(values)
    np.testing.assert_allclose(sums, values.sum(0), rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(most, values.max(0))
    np.testing.assert_array_equal(least, values.min(0))
    few = count <= FEW
    assert ("reduce_max" not in str(jax.make_jaxpr(largest)(values))) == few


@pytest.mark.parametrize("count", [2, FEW + 1])
def test_an_extreme_of_what_is_no_number_is_none(count):
    values = np.append(np.ones(count - 2), [np.nan, 1.0])
    assert np.isnan(all_three(values)).all()
