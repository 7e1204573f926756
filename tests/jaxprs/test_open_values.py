"""Values that a function reads before they are known, and what the rest of JAX makes of them."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawn
from jax import lax

from asgard.jaxprs.open_values import Properties, end, is_over, open_p, opened, trace_state
from asgard.jaxprs.program import from_jaxpr


@functools.cache
def network():
    return drawn(eqx.nn.MLP, 3, 3, 4, 1, activation=jnp.tanh)


VECTOR, NUMBER = jax.ShapeDtypeStruct((3,), jnp.float64), jax.ShapeDtypeStruct((), jnp.float64)

# Much of what users call on wires, of a vector x and a number y.
CALLS = {
    "operators": lambda x, y: [-x, 2 - x, x / y, y**2, abs(x), x @ x, x > y, x[1], x[::-1], [*x]],
    "methods": lambda x, y: [x.sum(), x.T, x.reshape(3, 1), x.astype("float32"), x.at[0].set(y)],
    "where": lambda x, y: jnp.where(x > 0.5, x, y),
    "stack": lambda x, y: [jnp.stack([y, y]), jnp.concatenate([x, x]), jnp.array([y, 1.0])],
    "algebra": lambda x, y: [jnp.linalg.norm(x), jnp.linalg.solve(y * jnp.eye(3), x)],
    "einsum": lambda x, y: jnp.einsum("i,j->ij", x, x),
    "interp": lambda x, y: jnp.interp(y, jnp.arange(3.0), x),
    "lax": lambda x, y: [lax.sin(x), lax.select(x > 0, x, -x), lax.stop_gradient(x)],
    "softplus": lambda x, y: [jax.nn.softplus(x), jax.nn.relu(x), jax.nn.softmax(x)],
    "special": lambda x, y: [jax.scipy.special.erf(x), jax.scipy.special.logsumexp(x)],
    "jit": lambda x, y: jax.jit(lambda z: 2 * z)(x),
    "vmap": lambda x, y: jax.vmap(lambda z: z * y)(x),
    "grad": lambda x, y: [jax.grad(jnp.square)(y), jax.jacfwd(jnp.sin)(x)],
    "jvp": lambda x, y: jax.jvp(jnp.sin, (y,), (y,)),
    "cond": lambda x, y: lax.cond(y > 0, jnp.sin, jnp.cos, y),
    "scan": lambda x, y: lax.scan(lambda c, a: (c + a, c), y, x),
    "loops": lambda x, y: [
        lax.fori_loop(0, 3, lambda i, c: c * y, y),
        lax.while_loop(lambda c: c < 3.0, lambda c: c + y, y),
    ],
    "checkpoint": lambda x, y: jax.checkpoint(jnp.sin)(y),
    "trees": lambda x, y: jax.tree.map(jnp.sin, {"x": x, "y": (y,)}),
    "equinox": lambda x, y: [network()(x), eqx.filter_jit(network())(x)],
    "numbers": lambda x, y: [x.shape[0] * y, x.ndim * y, jnp.zeros_like(x), jnp.float32(y)],
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_opened_value_is_an_array_to_jax(call):
    network()  # before anything is traced
    x, y = np.array([0.3, 0.6, 0.9]), np.array(0.7)

    def trace():
        values = opened(0, VECTOR), opened(1, NUMBER)
        for value in values:
            Properties("input", id, setattr).give(value)
        return jax.tree.map(jnp.asarray, call(*values))

    program = from_jaxpr(jax.make_jaxpr(trace)(), inlined=("jit",))

    @jax.jit
    def both(*given):
        """What the program gives of the values, and the call itself."""
        values = dict(program.constants)
        for equation in program.equations:
            if equation.primitive is open_p:
                results = [given[equation.params["number"]]]
            else:
                results = equation.bind(*(values[value] for value in equation.ins))
            values.update(zip(equation.outs, results, strict=True))
        return [values[output] for output in program.outputs], jax.tree.leaves(call(*given))

    for value, expected in zip(*both(x, y), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_a_property_reads_and_writes_by_the_functions_it_is_given():
    written = {}

    def trace():
        one, other = opened(0, NUMBER), opened(1, NUMBER)
        properties = Properties("input", lambda value: written[id(value)], written_to)
        properties.give(one)
        properties.give(other)
        one.input = other
        assert one.input is other
        assert type(one) is type(other)
        return one

    def written_to(value, assigned):
        written[id(value)] = assigned

    jax.make_jaxpr(trace)()


def test_a_value_is_over_after_its_trace_where_that_is_noted():
    kept = []

    def trace(x):
        kept.append(x * opened(0, NUMBER))
        assert not is_over(kept[0])
        end((x, None))
        return x

    jax.make_jaxpr(trace)(1.0)
    assert is_over(kept[0])
    assert not is_over(1.0)


def test_a_loop_has_another_state_of_tracing_than_the_function_around_it():
    states = []

    def body(carry, _):
        states.append(trace_state())
        return carry, None

    def trace(x):
        states.append(trace_state())
        lax.scan(body, x, None, length=2)
        states.append(trace_state())
        return x

    jax.make_jaxpr(trace)(1.0)
    assert states[0] == states[-1] != states[1]
