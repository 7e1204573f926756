"""What XLA does with and without each fence, by counts of operations in compiled programs.

A test that fails on a new version of XLA says that a fence no longer holds, or is no longer needed.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from helpers import AS_FOR_USERS
from jax import lax

from asgard.jaxprs import fences
from asgard.jaxprs.kernel import as_kernel
from asgard.jaxprs.lanes import run_in_lanes
from asgard.jaxprs.program import trace

X = jnp.linspace(0.1, 0.9, 64)


def compiled(fn: Any, *arguments: Any) -> Any:
    """The function as XLA compiles it for users."""
    return jax.jit(fn).lower(*arguments).compile(compiler_options=AS_FOR_USERS)


def count(operation, fn, *arguments):
    """How often a compiled function has an operation."""
    return compiled(fn, *arguments).as_text().count(f" {operation}(")


def read_by_many(value):
    """Operations that XLA fuses the value into, each by itself."""
    return [lax.cumsum(value * k) for k in (2.0, 3.0, 4.0)]


def test_what_many_read_is_computed_once():
    def plain(x):
        return read_by_many(jnp.tan(x))

    def fenced(x):
        return read_by_many(fences.computed_once(lambda: jnp.tan(x), x, x[0] > 0))

    assert count("tan", plain, X) == 3
    assert count("tan", fenced, X) == 1
    np.testing.assert_array_equal(jnp.stack(fenced(X)), jnp.stack(plain(X)))


def test_what_is_always_true_is_so_of_any_number():
    for number in (0.0, -0.0, jnp.inf, -jnp.inf, jnp.nan, 5e-324):
        assert jax.jit(fences.always_true)(jnp.array([number, 1.0]))
    assert jax.jit(fences.always_true)(jnp.asarray(1j * jnp.nan))


def test_a_chain_whose_every_value_is_read_is_computed_once_between_cuts():
    def chain(x, fence):
        found = []
        for number in range(32):
            x = x * x + 0.5
            x = fence(x) if number % 8 == 7 else x
            found.append(x)
        return jnp.stack(found)

    # One multiplication for each value of the chain, or one for each value up to each reader.
    assert count("multiply", lambda x: chain(x, lambda x: x), X) == 32 * 33 // 2
    assert count("multiply", lambda x: chain(x, fences.cut), X) == 4 * (8 * 9 // 2)
    np.testing.assert_array_equal(fences.cut(X), X)


def test_what_a_kernel_stores_is_computed_once_for_all_that_read_it():
    def chain(x, fence):
        found = [x]
        for _ in range(8):
            found.append(fence(sum(a * b for a, b in zip(found, reversed(found), strict=True))))
        return [jnp.stack(found)]

    def kernel(fence):
        return lambda x: as_kernel(lambda x: chain(x, fence), x)[0]

    products = 8 * 9 // 2
    assert count("multiply", kernel(fences.stored), X[0]) <= products
    assert count("multiply", kernel(lambda x: x), X[0]) > 1.5 * products
    # Outside of kernels it is nothing.
    assert count("call", lambda x: chain(x, fences.stored), X[0]) == 0
    values, plain = (jax.jit(kernel(fence))(X[0])[0] for fence in (fences.stored, lambda x: x))
    np.testing.assert_allclose(values, plain, rtol=1e-13)


def test_small_and_large_arrays_that_many_read_are_computed_once():
    def run(x, fence):
        def fenced():
            return jnp.tan(x)

        return read_by_many(fence(fenced, x, x[0] > 0))

    def kernel(fence):
        return lambda x: as_kernel(lambda x: run(x, fence), x)[0]

    def plain(fn, type_, always):
        return fn()

    for x in (X[: fences.SMALL], X):
        assert count("tan", lambda x: run(x, plain), x) == 3
        for fn in (kernel(fences.stored_if_small), lambda x: run(x, fences.stored_if_small)):
            assert count("tan", fn, x) == 1
            np.testing.assert_allclose(jax.jit(fn)(x), run(x, plain), rtol=1e-14)
    # In a kernel the small one takes no branch.
    found = [count("conditional", kernel(fences.stored_if_small), x) for x in (X[:4], X)]
    assert found == [0, 1]


def test_what_is_stored_if_small_has_derivatives_and_batches():
    def cube(x, always):
        return fences.stored_if_small(lambda: x, x, always) ** 3

    flags = jnp.ones(len(X), bool)
    for always, axis in ((flags, 0), (flags[0], None)):
        batch = jax.jit(jax.vmap(jax.grad(cube), in_axes=(0, axis)))
        np.testing.assert_allclose(batch(X, always), 3 * X**2, rtol=1e-14)
    found = jax.jit(lambda x: jax.jvp(lambda x: cube(x, x > 0), (x,), (x,))[1])(X[0])
    np.testing.assert_allclose(found, 3 * X[0] ** 3, rtol=1e-14)
    program = trace(lambda x, a: (cube(x, a),), jax.ShapeDtypeStruct((2,), float), flags[0])
    lanes = jax.jit(lambda x: run_in_lanes(program, [(x, True), (flags[0], False)], 5)[0][0])
    np.testing.assert_allclose(lanes(X[:10].reshape(2, 5)), X[:10].reshape(2, 5) ** 3, rtol=1e-14)


def test_what_is_stored_has_derivatives_and_lanes():
    def cube(x):
        return fences.stored(x) ** 3

    np.testing.assert_allclose(jax.vmap(jax.grad(cube))(X), 3 * X**2, rtol=1e-14)
    np.testing.assert_allclose(jax.jvp(cube, (X,), (X,))[1], 3 * X**3, rtol=1e-14)


def test_truth_values_and_whole_numbers_are_stored_too():
    given = [X > 0.5, jnp.arange(4), jnp.zeros(0)]
    run = jax.jit(lambda *xs: as_kernel(lambda *xs: [fences.stored(x) for x in xs], *xs)[0])
    for found, expected in zip(run(*given), given, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_two_arrays_of_one_computation_are_made_at_once_as_a_pair():
    def both(x):
        shared = jnp.tan(x)
        return shared * x, shared + x

    assert count("tan", both, X) == 2
    assert count("tan", lambda x: fences.as_pair(*both(x)), X) == 1
    pair = fences.as_pair(*both(X))
    halves = [fences.of_pair(pair, jnp.asarray(flag)) for flag in (False, True)]
    np.testing.assert_array_equal(halves, both(X))


def test_rows_that_many_read_are_made_once_one_by_one():
    rows = X.reshape(4, 16)

    def read(z):
        return z[0] + z[1], z[1] - z[2], 2 * z[2] - z[3], jnp.sum(z)

    assert count("tan", lambda rows: read(jnp.tan(rows)), rows) > 3
    assert count("tan", lambda rows: read(fences.one_by_one(jnp.tan, rows)), rows) == 1


def test_a_loop_of_one_turn_is_none():
    def steps(turns):
        return lambda x: lax.scan(lambda x, _: (x * x + 0.5, None), x, length=turns)[0]

    assert count("while", steps(1), X) == 0
    assert count("while", steps(fences.turns(1)), X) == 1


def test_a_barrier_hides_constants_and_is_gone_when_xla_fuses():
    def read(x):
        return [lax.cumsum(jnp.tan(one) * k) for k in (2.0, 3.0, 4.0) for one in fences.hidden([x])]

    # What the barrier hides would be folded: the tangent of an array that is known.
    assert count("tan", lambda: read(np.asarray(X))) == 3
    assert count("tan", lambda: [jnp.tan(np.asarray(X))]) == 0


def test_products_are_rounded_before_they_are_added_to():
    def difference(t, x):
        return (0.04 * x[0] - 1e4 * x[1],)

    avals = [jax.ShapeDtypeStruct((), float), jax.ShapeDtypeStruct((2, 64), float)]
    program = trace(difference, *avals)

    def run(program, x):
        values = {**program.constants, **dict(zip(program.inputs, (0.0 * x[0, 0], x), strict=True))}
        for one in program.equations:
            found = one.bind(*(values[number] for number in one.ins))
            values.update(zip(one.outs, found, strict=True))
        return values[program.outputs[0]]

    x = jnp.stack([X, 4e-6 * X * (1 + 1e-9 * X)])
    rounded = 0.04 * np.asarray(x[0]) - 1e4 * np.asarray(x[1])
    fenced = fences.with_rounded_products(program)
    assert np.any(compiled(lambda x: run(program, x), x)(x) != rounded)
    np.testing.assert_array_equal(compiled(lambda x: run(fenced, x), x)(x), rounded)


def test_a_maximum_of_many_values_keeps_what_is_no_number():
    values = jnp.ones((1024, 8)).at[3, 5].set(jnp.nan)
    plain = compiled(lambda x: lax.reduce_max(x, (0,)), values)(jnp.full((1024, 8), jnp.nan))
    assert not np.isnan(plain).any()  # jaxlib 0.10.2 drops it
    fenced = compiled(lambda x: fences.largest_of(x, (0,)), values)
    found = fenced(values)
    assert np.isnan(found[5])
    assert np.isnan(found).sum() == 1
    np.testing.assert_array_equal(fenced(values.at[3, 5].set(7.0)), jnp.ones(8).at[5].set(7.0))


def in_one_loop(fn, *arguments):
    """Whether a compiled function has a loop with both an exponential and log(1 + x)."""
    text = compiled(fn, *arguments).as_text()
    loops = re.split(r"\n\}\n", text)
    return any(" exponential(" in one and " log-plus-one(" in one for one in loops)


def test_a_function_of_another_one_is_a_loop_of_its_own():
    program = trace(lambda x: (jax.nn.softplus(x),), jax.ShapeDtypeStruct((32, 64), float))
    once = fences.one_in_another(program, program.inputs, 0)

    def run(x, once):
        return run_in_lanes(program, [(x, False)], 0, once)[0][0]

    x = jnp.linspace(-9.0, 9.0, 32 * 64).reshape(32, 64)
    assert in_one_loop(lambda x: run(x, ()), x)
    assert not in_one_loop(lambda x: run(x, once), x)
    np.testing.assert_allclose(run(x, once), run(x, ()), rtol=1e-14)
    # A value that is no number is one beside others.
    x = x.at[0, 0].set(jnp.nan).at[1, 1].set(-jnp.inf)
    np.testing.assert_allclose(run(x, once), run(x, ()), rtol=1e-14)
    assert np.isnan(run(x, once)).sum() == 1


def test_only_many_values_of_a_function_that_another_one_reads_are_computed_once():
    def found(fn, *shapes, lanes=0):
        program = trace(lambda *xs: (fn(*xs),), *(jax.ShapeDtypeStruct(x, float) for x in shapes))
        numbers = fences.one_in_another(program, program.inputs[:1], lanes)
        return [one.name for one in program.equations if numbers.intersection(one.outs)]

    def through(x):
        return jnp.tanh(2 * jnp.exp(x).reshape(-1) + 1)

    many, square = (1024,), (1024, 1024)
    assert found(through, many) == ["exp"]
    assert found(through, (16,)) == []
    assert found(through, (16,), lanes=64) == ["exp"]
    assert found(lambda x: jnp.exp(x) + jnp.tanh(x), many) == []
    assert found(lambda x: jnp.exp(jnp.tanh(jnp.log(x))), many) == ["log", "tanh"]
    # XLA fuses nothing across a product of matrices, and computes once what no input moves.
    assert found(lambda x, w: jnp.tanh(w @ jnp.tanh(x)), many, square) == []
    assert found(lambda x, w: x * jnp.tanh(jnp.exp(w)), many, many) == []
