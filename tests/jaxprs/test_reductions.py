"""Sums and extremes of few rows, written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asgard.jaxprs.reductions import FEW, largest, smallest, total


@pytest.mark.parametrize("count", [1, 3, FEW, FEW + 1])
@pytest.mark.parametrize("tail", [(), (5,)])
def test_they_are_those_of_numpy(count, tail):
    values = np.random.default_rng(count).normal(size=(count, *tail))
    given = jnp.asarray(values)
    np.testing.assert_allclose(total(given), values.sum(0), rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(largest(given), values.max(0))
    np.testing.assert_array_equal(smallest(given), values.min(0))
    few = count <= FEW
    assert ("reduce_max" not in str(jax.make_jaxpr(largest)(given))) == few


@pytest.mark.parametrize("count", [2, FEW + 1])
def test_an_extreme_of_what_is_no_number_is_none(count):
    values = jnp.ones(count).at[1].set(jnp.nan)
    assert jnp.isnan(largest(values))
    assert jnp.isnan(smallest(values))
    assert jnp.isnan(total(values))
