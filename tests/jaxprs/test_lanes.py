"""Programs in lanes: what `jax.vmap` gives, with the batch as the last axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import asgard as ag
from asgard.jaxprs.lanes import run_in_lanes, spread
from asgard.jaxprs.program import trace

SIZE = 5


def loops(x, y):
    def turn(carry, row):
        total = carry * row + y
        return total, jnp.sum(total)

    return lax.scan(turn, x[0], x, reverse=True)


def halves(x, y):
    return lax.while_loop(lambda x: jnp.sum(x) > 1, lambda x: x / 2, x * x + y)


THREE = np.random.default_rng(0).normal(size=(2, 3, 2))
FUNCTIONS = {
    "arithmetic": lambda x, y: x * y + jnp.sin(x) / (1 + y * y) - 2.0,
    "shapes": lambda x, y: jnp.concatenate([x.T.reshape(6), jnp.stack([y, y])])[::-1],
    "padding": lambda x, y: jnp.pad(x, 1) + y,
    "reductions": lambda x, y: jnp.max(x, axis=0) * jnp.cumsum(x, axis=1)[0] + y,
    "slices": lambda x, y: lax.dynamic_update_slice(x, x[:1] * y, (1, 0))[1:, ::2],
    "an index in lanes": lambda x, y: lax.dynamic_index_in_dim(x, (y > 0).astype(int)),
    "select": lambda x, y: jnp.where(y > 0, x, jnp.where(x > 0, y, 1.0)),
    "dot": lambda x, y: x @ x.T + y,
    "products with a matrix": lambda x, y: [
        x @ THREE[0] + y,
        THREE[0].T @ x.T,
        jnp.tensordot(THREE, x, ((1, 2), (1, 0))),
        jnp.tensordot(x, THREE, ((0,), (2,))),
        jnp.tensordot(x, THREE[0, 0, :], ((0,), (0,))),
        jnp.tensordot(y, THREE, ((), ())),
    ],
    "sort": lambda x, y: jnp.sort(x + y, axis=1),
    "scan": loops,
    "scan over constants": lambda x, y: lax.scan(lambda c, _: (c + y, c), 0.0, None, length=3),
    "while": halves,
    "cond": lambda x, y: lax.cond(y > 0, lambda x: x + 1, lambda x: -x, x),
}


SHAPES = (2, 3), ()
LANED = [(True, True), (True, False), (False, True), (False, False)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lanes_have_the_values_of_a_batch(name):
    def flat(x, y):
        return jax.tree.leaves(FUNCTIONS[name](x, y))

    random = np.random.default_rng(1)
    given = [
        [
            random.normal(size=(*shape, SIZE) if flag else shape)
            for shape, flag in zip(SHAPES, laned, strict=True)
        ]
        for laned in LANED
    ]
    program = trace(flat, *(jax.ShapeDtypeStruct(shape, jnp.float64) for shape in SHAPES))

    @jax.jit
    def both(given):
        """What lanes give, and the batches, of inputs that are laned in each way."""
        found, expected = [], []
        for laned, values in zip(LANED, given, strict=True):
            results = run_in_lanes(program, list(zip(values, laned, strict=True)), SIZE)
            found += [spread(result, SIZE) for result in results]
            axes = [-1 if flag else None for flag in laned]
            expected += jax.vmap(flat, in_axes=axes, out_axes=-1, axis_size=SIZE)(*values)
        return found, expected

    for one, other in zip(*both(given), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-14)


def growth(rate, initial, ts):
    circuit = (ag.Scalar(rate) >> ag.Register("t", initial) >> ag.Split()).trace()
    return ag.simulate(circuit, ts, calculus=ag.Real(order=14, max_steps=31), throw=False)


def test_a_matrix_that_lanes_share_stands_on_their_left():
    matrix = jnp.ones((3, 4))
    program = trace(lambda x: (x @ matrix,), jax.ShapeDtypeStruct((2, 3), float))
    lanes = jnp.ones((2, 3, SIZE))
    run = jax.make_jaxpr(lambda x: run_in_lanes(program, [(x, True)], SIZE)[0][0])(lanes)
    (product,) = (one for one in run.jaxpr.eqns if one.primitive.name == "dot_general")
    assert [x.aval.shape for x in product.invars] == [(4, 3), (2, 3, SIZE)]


def test_nested_batches_over_different_arguments():
    rates, initials = jnp.linspace(-1, 1, 3), jnp.linspace(1, 2, 4)
    ts = jnp.array([0.0, 0.3, 0.5])

    def last(rate, initial):
        return growth(rate, initial, ts).output[-1]

    grid = jax.vmap(jax.vmap(last, in_axes=(None, 0)), in_axes=(0, None))
    expected = initials * np.exp(0.5 * rates[:, None])
    other = jax.vmap(jax.vmap(last, in_axes=(0, None)), in_axes=(None, 0))
    found = jax.jit(lambda *given: (grid(*given), other(*given)))(rates, initials)
    np.testing.assert_allclose(found[0], expected, rtol=1e-13)
    np.testing.assert_allclose(found[1], expected.T, rtol=1e-13)


def test_a_batch_larger_than_a_tile_with_times_and_failures_of_its_own():
    rates = jnp.linspace(0.1, 1, 150).at[70].set(jnp.nan)
    spans = jnp.linspace(0.5, 1.5, 150)

    def run(rate, span):
        found = growth(rate, 1.0, span * jnp.linspace(0, 1, 4))
        return found.output, found.status == ag.Status.ok, found.stats["steps"]

    outputs, ok, steps = jax.jit(jax.vmap(run))(rates, spans)
    np.testing.assert_array_equal(ok, ~np.isnan(rates))
    times = spans[:, None] * np.linspace(0, 1, 4)
    expected = np.exp(rates[:, None] * times)
    good = np.asarray(ok)
    np.testing.assert_allclose(outputs[good], expected[good], rtol=1e-13)
    assert np.all(np.isnan(outputs[70]))
    assert len(set(np.asarray(steps).tolist())) > 1
    alone = growth(rates[3], 1.0, times[3])
    assert int(alone.stats["steps"]) == int(steps[3])


def test_gradients_in_and_around_a_batch():
    rates = jnp.linspace(0.1, 1, 3)
    ts = jnp.array([0.0, 0.5])

    def last(rate):
        return growth(rate, 1.0, ts).output[-1]

    expected = 0.5 * np.exp(0.5 * rates)
    inside, around = jax.jit(
        lambda rates: (
            jax.vmap(jax.grad(last))(rates),
            jax.grad(lambda rates: jnp.sum(jax.vmap(last)(rates)))(rates),
        )
    )(rates)
    np.testing.assert_allclose(inside, expected, rtol=1e-12)
    np.testing.assert_allclose(around, expected, rtol=1e-12)


def test_a_batch_of_nothing_gives_nothing():
    def last(start):
        circuit = (ag.Scalar(-1.0) >> ag.Register("t", start) >> ag.Split()).trace()
        return ag.simulate(circuit, jnp.array([0.0, 1.0])).output[-1]

    assert jax.vmap(last)(jnp.zeros(0)).shape == (0,)
    assert jax.vmap(jax.grad(last))(jnp.zeros(0)).shape == (0,)
