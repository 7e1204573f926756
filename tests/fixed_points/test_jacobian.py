"""The Jacobian along unit vectors, against JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from asgard.fixed_points.jacobian import jacobian

N = 12
RNG = np.random.default_rng(0)
MATRIX = jnp.asarray(RNG.normal(size=(N, N)))
CUBE = jnp.asarray(RNG.normal(size=(5, N, 3)))
POINT = jnp.asarray(RNG.normal(size=N))

FUNCTIONS = {
    "a layer": lambda x: jnp.tanh(MATRIX @ x),
    "a product from the left and the vector itself": lambda x: x @ MATRIX * x + x,
    "a contraction of an inner axis": lambda x: jnp.einsum("anb,n->ab", CUBE, x).ravel(),
    "the vector": lambda x: x,
    "a constant": lambda x: jnp.ones(4),
    "an outer product": lambda x: jnp.outer(x, x).ravel(),
    "two layers": lambda x: jnp.sin(MATRIX @ jnp.cos(MATRIX.T @ jnp.roll(x, 1))),
    "a scan": lambda x: lax.scan(lambda c, row: (c + row @ x, c * x), 0.0, MATRIX)[1].ravel(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_that_of_jax(name):
    fn, exact = FUNCTIONS[name], jax.jacfwd(FUNCTIONS[name])

    def at(matrix, x):
        """A matrix as a function of x, in a batch, and the gradient of a number made of it."""
        slope = jax.grad(lambda x: jnp.sum(jnp.sin(matrix(x))))
        return matrix(x), jax.vmap(matrix)(jnp.stack([x, 2 * x])), slope(x)

    found, expected = jax.jit(lambda x: (at(lambda x: jacobian(fn, x), x), at(exact, x)))(POINT)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_a_layer_takes_no_product_of_matrices():
    program = jax.make_jaxpr(lambda x: jacobian(FUNCTIONS["a layer"], x))(POINT)
    products = [eqn for eqn in program.eqns if eqn.primitive.name == "dot_general"]
    assert [eqn.outvars[0].aval.shape for eqn in products] == [(N,)]
