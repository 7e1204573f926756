"""Where a Jacobian may differ from zero, read off a program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asgard.jaxprs.dependence import dependence
from asgard.jaxprs.program import trace
from asgard.jaxprs.sparsity import pattern_of

SIZE = 12
MATRIX = np.diag(np.arange(1.0, SIZE)[: SIZE - 1], 1)
FUNCTIONS = {
    "neighbours": lambda y: jnp.roll(y, 1) * y - jnp.roll(y, -2),
    "a line": lambda y: jnp.pad(jnp.diff(y, 2), 1) + jnp.sin(y),
    "two fields": lambda y: jnp.concatenate([y[6:] * y[:6], jnp.diff(y[:6], append=y[0])]),
    "a known matrix": lambda y: MATRIX @ y,
    "a sum": lambda y: y * jnp.sum(y[:3]),
    "a grid": lambda y: (jnp.roll(y.reshape(3, 4), 1, 0) + y.reshape(3, 4)[::-1]).ravel(),
    "choices": lambda y: jnp.where(y > y[0], y, 2 * y[::-1]),
    "entries": lambda y: y[jnp.array([3, 3, 1, 0, 2, 5, 4, 7, 6, 11, 10, 9])] ** 2,
    "a running sum": lambda y: jnp.cumsum(y),
    "a loop": lambda y: jax.lax.fori_loop(0, 3, lambda i, z: jnp.sin(z) + y[i], y),
    "held ends": lambda y: jnp.roll(y, 1).at[0].set(0.0).at[-1].set(y[3]),
    "added": lambda y: jnp.zeros(SIZE).at[1:].add(y[:-1]).at[jnp.array([2, 2])].add(y[5:7]),
    "scaled": lambda y: y.at[3:6].multiply(y[6:9]),
    "pieces": lambda y: jax.lax.dynamic_update_slice(y, jax.lax.dynamic_slice(y, (6,), (3,)), (1,)),
    "a stencil": lambda y: jnp.convolve(y, np.array([1.0, 0.0, 2.0]), mode="same"),
    "nothing": lambda y: jnp.zeros(SIZE),
}


def found(fn):
    program = trace(lambda y: (fn(y),), jax.ShapeDtypeStruct((SIZE,), jnp.float64))
    return dependence(program, program.inputs[0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_entry_of_the_jacobian_is_missed(name):
    fn = FUNCTIONS[name]
    points = np.random.default_rng(1).normal(size=(4, SIZE))
    truth = np.any(jax.jit(jax.vmap(jax.jacfwd(fn)))(points) != 0, axis=0)
    pattern = found(fn)
    assert not np.any(truth & ~pattern)
    if name not in ("a loop", "choices"):  # of which less is known
        assert np.array_equal(pattern, truth)


def test_a_pad_by_a_number_that_is_an_operand_moves_what_it_pads():
    def padded(y, edge):
        return (jax.lax.pad(jnp.diff(y, 2), edge, [(1, 1, 0)]),)

    program = trace(padded, jax.ShapeDtypeStruct((SIZE,), float), jax.ShapeDtypeStruct((), float))
    pattern = dependence(program, program.inputs[0])
    truth = jax.jacfwd(lambda y: padded(y, 0.0)[0])(np.zeros(SIZE)) != 0
    np.testing.assert_array_equal(pattern, truth)


def test_columns_of_one_color_share_no_row_and_give_all_entries():
    fn = FUNCTIONS["two fields"]
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
