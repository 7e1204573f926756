"""Recursions are `lax.scan`, with its derivatives, in lanes and as kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow
from jax import lax

from asgard.jaxprs import small_algebra
from asgard.jaxprs.program import trace
from asgard.jaxprs.recursion import recur

RANDOM = np.random.default_rng(3)


def swinging(factor, rows):
    """A body with a constant, a count, two carries and two rows."""

    def body(carry, row):
        angle, speed, count = carry
        force, mass = row
        speed = speed + factor * (force - jnp.sin(angle)) / mass
        angle = angle + factor * speed
        return (angle, speed, count + 1), (angle * mass, jnp.sum(speed) + count)

    start = jnp.zeros(3) + factor, jnp.arange(3.0), jnp.zeros((), jnp.int32)
    return body, start, rows


def by(scan, factor, rows):
    body, start, rows = swinging(factor, rows)
    (angle, speed, count), (angles, sums) = scan(body, start, rows, len(rows[1]))
    weighed = jnp.sum(jnp.cos(angles)) + jnp.sum(sums**2) + jnp.sum(angle * speed) + count
    return weighed, (angles, sums)


def recursion(*arguments):
    return recur(*arguments)[0]


def scanned(body, start, rows, length):
    return lax.scan(body, start, rows, length=length)


@pytest.mark.parametrize("length", [slow(1), slow(4), 7])
def test_values_and_all_derivatives_are_those_of_a_scan(length):
    rows = jnp.asarray(RANDOM.normal(size=(length, 3))), 1 + jnp.asarray(RANDOM.random(length))

    @jax.jit
    def all_of(factor, rows):
        found = []
        for scan in (recursion, scanned):

            def fn(factor, rows, scan=scan):
                return by(scan, factor, rows)[0]

            value = by(scan, factor, rows)
            reverse = jax.grad(fn, argnums=(0, 1))(factor, rows)
            forward = jax.jvp(fn, (factor, rows), (jnp.ones(()), rows))
            second = jax.jacfwd(jax.grad(fn, argnums=(0, 1)))(factor, rows)
            found.append((value, reverse, forward, second))
        return found

    ours, theirs = all_of(jnp.asarray(0.3), rows)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-11), ours, theirs
    )


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 4, 7])
def test_third_derivatives_are_those_of_a_scan(length):
    rows = jnp.asarray(RANDOM.normal(size=(length, 3))), 1 + jnp.asarray(RANDOM.random(length))

    def third(scan):
        return jax.grad(jax.grad(jax.grad(lambda factor: by(scan, factor, rows)[0])))

    ours, theirs = jax.jit(lambda x: [third(scan)(x) for scan in (recursion, scanned)])(0.3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-11)


def test_lanes_are_those_of_a_batch():
    rows = jnp.asarray(RANDOM.normal(size=(5, 4, 3))), 1 + jnp.asarray(RANDOM.random(4))
    factors = jnp.linspace(0.1, 0.5, 5)

    @jax.jit
    def all_of(factors, rows):
        found = []
        for scan in (recursion, scanned):

            def fn(factor, force, mass, scan=scan):
                return by(scan, factor, (force, mass))[0]

            batch = jax.vmap(jax.value_and_grad(fn, argnums=(0, 1, 2)), (0, 0, None))
            twice = jax.vmap(jax.vmap(fn, (0, None, None)), (None, 0, None))
            of_sum = jax.grad(lambda mass, batch=batch: jnp.sum(batch(factors, rows[0], mass)[0]))
            found.append((batch(factors, *rows), twice(factors, *rows), of_sum(rows[1])))
        return found

    ours, theirs = all_of(factors, rows)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-11), ours, theirs
    )


def test_a_small_body_is_a_kernel_and_others_are_not():
    def run(fn, count):
        rows = jnp.ones((6, count))
        return recur(lambda x, row: (fn(x) + row, x), jnp.zeros(count), rows, 6)[1]

    assert jax.jit(lambda: run(jnp.sin, 3))()
    assert not jax.jit(lambda: run(jnp.sort, 3))()
    assert not jax.jit(lambda: run(jnp.sin, 10_000))()


def test_a_function_with_its_own_derivative_keeps_it():
    @jax.custom_vjp
    def held(x):
        return 2.0 * x

    held.defvjp(lambda x: (held(x), None), lambda _, dot: (10.0 * dot,))

    def last(x):
        (found, _), _ = recur(lambda x, _: (held(x), x), x, jnp.zeros(3), 3)
        return found

    value, slope = jax.jit(jax.value_and_grad(last))(1.0)
    assert (value, slope) == (8.0, 1000.0)


def matrices(n, dtype):
    matrix = RANDOM.normal(size=(n, n))
    if dtype == "complex":
        matrix = matrix + 1j * RANDOM.normal(size=(n, n))
    return jnp.asarray(matrix), jnp.asarray(RANDOM.normal(size=(n, 2)) + 0 * matrix[:, :1])


@pytest.mark.parametrize("dtype", ["real", slow("complex")])
def test_small_linear_algebra_is_that_of_lapack(dtype):
    matrix, right = matrices(4, dtype)

    def algebra(a, b):
        solve = jax.scipy.linalg.solve_triangular
        triangular = [
            solve(a, b, lower=lower, trans=trans, unit_diagonal=unit)
            for lower in (True, False)
            for trans in (0, 1, 2)
            for unit in (True, False)
        ]
        found = [jnp.linalg.solve(a, b), jnp.linalg.inv(a), jnp.linalg.det(a), *triangular]
        found += [jnp.einsum("ij,kj->ik", a, b.T @ b @ b.T), jnp.outer(b[:, 0], b[:, 1])]
        if dtype == "real":
            found.append(jnp.linalg.cholesky(a @ a.T + jnp.eye(4)))
        return found

    program = trace(algebra, matrix, right)
    expanded = small_algebra.expanded(program)
    left = {equation.name for equation in expanded.equations}
    assert not left & {"lu", "dot_general", "triangular_solve", "cholesky", "custom_linear_solve"}
    run = jax.jit(lambda *inputs: expanded.run(*inputs))
    for found, expected in zip(run(matrix, right), jax.jit(algebra)(matrix, right), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_large_linear_algebra_is_left_alone():
    program = trace(lambda a: jnp.linalg.solve(a @ a, a), jnp.eye(20))
    names = {equation.name for equation in small_algebra.expanded(program).equations}
    assert {"dot_general", "lu", "triangular_solve"} <= names
