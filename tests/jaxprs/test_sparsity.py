"""Where a Jacobian may differ from zero, read off a program."""

import jax
import jax.numpy as jnp
import numpy as np

from asgard.jaxprs.dependence import dependence
from asgard.jaxprs.program import trace
from asgard.jaxprs.sparsity import pattern_of

SIZE = 12


def two_fields(y):
    return jnp.concatenate([y[6:] * y[:6], jnp.diff(y[:6], append=y[0])])


def found(fn):
    program = trace(lambda y: (fn(y),), jax.ShapeDtypeStruct((SIZE,), jnp.float64))
    return dependence(program, program.inputs[0])


def test_columns_of_one_color_share_no_row_and_give_all_entries():
    fn = two_fields
    pattern, point = pattern_of(found(fn)), np.random.default_rng(2).normal(size=SIZE)

    @jax.jit
    def both(point):
        return jax.vmap(jax.linearize(fn, point)[1])(pattern.seeds), jax.jacfwd(fn)(point)

    compressed, jacobian = both(point)
    whole = np.zeros((SIZE, SIZE))
    whole[pattern.rows, pattern.columns] = compressed[pattern.colors[pattern.columns], pattern.rows]
    np.testing.assert_allclose(whole, jacobian, atol=1e-14)
    assert pattern.count <= 4


def test_a_band_is_found_in_another_order():
    # Two fields on a line, one after the other in the state.
    count = 50

    def fn(y):
        u, v = jnp.split(y, 2)
        return jnp.concatenate([jnp.pad(jnp.diff(u, 2), 1) + u * v, jnp.pad(jnp.diff(v, 2), 1) - u])

    program = trace(lambda y: (fn(y),), jax.ShapeDtypeStruct((2 * count,), jnp.float64))
    pattern = pattern_of(dependence(program, program.inputs[0]))
    assert pattern.lower + pattern.upper <= 6
    assert pattern.count <= 6
    assert sorted(pattern.order) == list(range(2 * count))
