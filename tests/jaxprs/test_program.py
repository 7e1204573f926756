"""Programs: jaxprs as flat lists of equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from asgard.errors import CircuitError
from asgard.jaxprs.program import computed, trace

SCALAR = jax.ShapeDtypeStruct((), jnp.float64)


@jax.custom_jvp
def custom(x):
    return jnp.sin(x)


custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[0]))


def names(fn, count=1):
    return [equation.name for equation in trace(fn, *[SCALAR] * count).equations]


def test_calls_are_inlined():
    def fn(x):
        return (jax.jit(lambda y: jax.checkpoint(jnp.exp)(jax.nn.relu(y)))(x),)

    assert names(fn) == ["max", "exp"]


def test_functions_with_derivatives_of_their_own_keep_them():
    def fn(x):
        return (jax.jit(custom)(x),)

    def kept(x):
        return trace(fn, SCALAR).run(x)[0]

    assert names(fn) == ["custom_jvp_call"]
    assert jax.grad(kept)(0.5) == 1.0
    assert jax.vmap(jax.grad(kept))(jnp.ones(2)).tolist() == [1.0, 1.0]
    closed = jax.make_jaxpr(fn)(SCALAR)
    assert [equation.name for equation in computed(closed).equations] == ["sin"]


def test_a_root_of_jax_keeps_its_derivative():
    def root(x):  # of z^2 = x, digit by digit
        def solve(fn, _):
            def digit(place, z):
                more = z + 0.5**place
                return jnp.where(fn(more) > 0, z, more)

            return lax.fori_loop(0, 40, digit, x * 0)

        return (lax.custom_root(lambda z: z**2 - x, x, solve, lambda fn, y: y / fn(1.0)),)

    slope = jax.jit(jax.grad(lambda x: trace(root, SCALAR).run(x)[0]))(2.25)
    np.testing.assert_allclose(slope, 1 / 3, rtol=1e-9)


def test_what_no_output_needs_is_dropped():
    def fn(x, y):
        jnp.cos(y)
        return (jax.jit(lambda a, b: (jnp.exp(a), jnp.log(b)))(x, y)[0],)

    assert names(fn, 2) == ["exp"]


def test_what_is_computed_twice_is_computed_once():
    def fn(x, y):
        both = [jnp.sin(x) * y + 2.0 for _ in range(2)]
        return *both, both[0] - both[1], jnp.sin(y) * x, x.sum(axis=0), x.sum(axis=1)

    types = [jax.ShapeDtypeStruct((3, 3), float)] * 2
    program = trace(fn, *types)
    once = program.without_repeats()
    kinds = [equation.name for equation in once.equations]
    assert [kinds.count(name) for name in ("sin", "mul", "add", "sub", "reduce_sum")] == [
        2,
        2,
        1,
        1,
        2,
    ]
    assert len(program.equations) == len(kinds) + 3
    x, y = np.random.default_rng(0).normal(size=(2, 3, 3))
    for found, expected in zip(once.run(x, y), program.run(x, y), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_program_gives_the_function_s_value():
    table = jnp.arange(3.0)

    def fn(x, y):
        return jnp.sum(jnp.sin(x) * table) + 2.0, y, jnp.float64(3.0)

    program = trace(fn, SCALAR, SCALAR)
    values = dict(program.constants)
    values.update(zip(program.inputs, (0.5, 0.25), strict=True))
    for equation in program.equations:
        operands = [values[number] for number in equation.ins]
        values.update(zip(equation.outs, equation.bind(*operands), strict=True))
        assert all(
            program.avals[number].shape == jnp.shape(values[number]) for number in equation.outs
        )
    assert [float(values[number]) for number in program.outputs] == [
        float(value) for value in fn(0.5, 0.25)
    ]


def test_one_value_may_be_several_outputs():
    program = trace(lambda x: (x, x), SCALAR)
    assert program.outputs == program.inputs * 2
    assert program.equations == ()


def test_references_are_refused():
    def doubled(x):
        kept = jax.new_ref(jnp.zeros_like(x))
        kept[...] = 2 * x
        return (kept[...],)

    def by_turns(x):
        kept = jax.new_ref(x)

        def turn(index, _):
            kept[...] = kept[...] + index

        lax.fori_loop(0, 3, turn, None)
        return (kept[...],)

    for fn in (doubled, by_turns):
        with pytest.raises(CircuitError, match="reference"):
            trace(fn, SCALAR)
