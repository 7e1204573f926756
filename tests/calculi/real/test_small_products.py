"""Products of small matrices, which runs write out so that they fit kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag
from asgard.jaxprs.small_algebra import products_written_out

MASSES = jnp.array([1.0, 0.5, 0.25])
PLACES = jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.1], [0.0, 2.0, 0.0]])
SPEEDS = jnp.array([[0.0, -0.1, 0.0], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.1]])
METHODS = {"Taylor": (ag.Taylor(8), 1e-7), "Tsit5": (ag.Tsit5(), 1e-6)}


def attraction(pulls):
    """Three bodies, whose pulls are summed by a function of weights and differences."""

    def rates(t, y, *, masses=MASSES):
        between = y["x"][None] - y["x"][:, None]
        squares = jnp.sum(between * between, -1) + jnp.eye(3)
        weights = masses * (1 - jnp.eye(3)) / (squares * jnp.sqrt(squares))
        return {"x": y["v"], "v": pulls(weights, between)}

    return ag.ode(rates, {"x": PLACES, "v": SPEEDS})


def by_product(weights, between):
    return jnp.einsum("ij,ijk->ik", weights, between)


def by_sum(weights, between):
    return jnp.sum(weights[..., None] * between, 1)


@functools.cache
def runs(name):
    """Runs of both forms: the end, whether they are kernels, and their steps."""
    method, rtol = METHODS[name]
    calculus = ag.Real(method=method, rtol=rtol)

    def end(circuit, length):
        run = ag.simulate(circuit, jnp.stack([0.0, length]), calculus=calculus)
        return run["x"][-1], run.stats["kernel"], run.stats["steps"]

    forms = attraction(by_product), attraction(by_sum)
    return functools.partial(end, forms[0]), jax.jit(lambda t: [end(form, t) for form in forms])


@pytest.mark.parametrize("name", METHODS)
def test_products_in_batches_run_as_a_kernel_and_as_sums_do(name):
    product, plain = runs(name)[1](1.0)
    assert product[1]
    assert plain[1]
    assert product[2] == plain[2]
    np.testing.assert_allclose(product[0], plain[0], rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_products_in_batches_of_runs(name):
    end, single = runs(name)
    many, is_kernel, _ = jax.jit(jax.vmap(end))(jnp.array([1.0, 1.5]))
    assert is_kernel.all()
    np.testing.assert_allclose(many[0], single(1.0)[0][0], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(many[1], single(1.5)[1][0], rtol=1e-12, atol=1e-13)


def test_gradients_and_functions_with_series_of_their_own_keep_theirs():
    # sinc has a branch, and its series is known by its name alone; xlogy has its own derivative.
    turn = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
    calculus = ag.Real(method=ag.Taylor(8), rtol=1e-8)

    def end(turn, written):
        def rates(t, y, *, turn=turn):
            inner = jnp.sinc(y) + jax.scipy.special.xlogy(y + 1, y + 1)
            if written:
                return jnp.stack([row[0] * inner[0] + row[1] * inner[1] for row in turn])
            return turn @ inner

        circuit = ag.ode(rates, jnp.array([0.0, 0.5]))
        return ag.simulate(circuit, [0.0, 1.0], calculus=calculus).output[-1].sum()

    by_product, by_hand = jax.jit(
        lambda turn: [jax.value_and_grad(end)(turn, written) for written in (False, True)]
    )(turn)
    np.testing.assert_allclose(by_product[0], by_hand[0], rtol=1e-12)
    np.testing.assert_allclose(by_product[1], by_hand[1], rtol=1e-9, atol=1e-10)


def test_a_network_stays_one_of_products():
    weights = jnp.full((8, 9), 0.1)

    def text(method):
        circuit = ag.ode(lambda t, y, *, w=weights: w.T @ jnp.tanh(w @ y), jnp.full(9, 0.1))
        calculus = ag.Real(method=method, rtol=1e-6)
        run = jax.jit(lambda t: ag.simulate(circuit, t, calculus=calculus).output)
        return run.lower(jnp.array([0.0, 1.0])).as_text()

    assert "dot_general" in text(ag.Tsit5())
    assert "dot_general" not in text(ag.Taylor(4))


FACTORS = np.array([[3, 0, 2], [0, 0, 1]]), np.array([[0, 1], [0, 2], [3, 0]])
PRODUCTS = {
    "truth values": lambda a, b: (a > 0) @ (b > 0),
    "whole numbers": lambda a, b: a @ b,
    "wider results": lambda a, b: jnp.matmul(
        a.astype(jnp.int8), 100 * b.astype(jnp.int8), preferred_element_type=jnp.int32
    ),
    "two dtypes": lambda a, b: jnp.matmul(a.astype(jnp.float32), b.astype(complex)),
    "two axes": lambda a, b: jnp.tensordot(a, b, axes=[[0, 1], [1, 0]]),
    "no axis": lambda a, b: jnp.tensordot(a, b, axes=0),
    "no numbers": lambda a, b: a[:, :0] @ b[:0],
    "truth values in batches": lambda a, b: jnp.einsum("ij,ji->i", a > 0, b > 0),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_all_dtypes_and_axes_are_what_they_were(name):
    def fn(a, b):
        return [PRODUCTS[name](a, b)]

    written = products_written_out(fn)
    assert "dot_general" not in str(jax.make_jaxpr(written)(*FACTORS))
    (found,), (exact,) = jax.jit(lambda a, b: (written(a, b), fn(a, b)))(*FACTORS)
    assert found.dtype == exact.dtype
    np.testing.assert_array_equal(found, exact)
