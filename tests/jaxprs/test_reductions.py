"""Sums and extremes of few rows, written out."""

import jax
import numpy as np
import pytest

from asgard.jaxprs.kernel import LARGEST_SUM
from asgard.jaxprs.reductions import FEW, combined, largest, smallest, total


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


@pytest.mark.parametrize("sums", [(), (3,)])
@pytest.mark.parametrize("tail", [(2,), (2, LARGEST_SUM)])
def test_combinations_of_rows_are_products_where_they_are_many(sums, tail):
    weights, rows = (np.random.default_rng(0).normal(size=(4, *more)) for more in (sums, tail))
    found = jax.jit(combined)(weights, rows)
    np.testing.assert_allclose(found, np.tensordot(weights, rows, (0, 0)), rtol=1e-12, atol=1e-14)
    program = str(jax.make_jaxpr(combined)(weights, rows))
    assert ("dot_general" in program) == (LARGEST_SUM in tail)
