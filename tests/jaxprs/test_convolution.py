"""The convolution of two histories, in both of the forms that it compiles to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from asgard.jaxprs.convolution import convolution
from asgard.jaxprs.kernel import as_kernel
from asgard.taylor.series import divide

LENGTH = 21
# Shapes of the values of both histories, and which entry is meant of each.
CASES = {
    "numbers": ((), (), (None, None)),
    "vectors": ((3,), (3,), (None, None)),
    "vectors that are summed in long turns": ((8,), (8,), (None, None)),
    "matrices": ((2, 5), (2, 5), (None, None)),
    "one number for a row": ((2, 1), (2, 5), (None, None)),
    "entries": ((3,), (4,), (2, 0)),
    "an entry beside a number": ((3,), (), (1, None)),
    "rows": ((2, 5), (3, 5), (1, 2)),
}
FORMS = {
    "one sum": lambda fn, *arguments: jax.jit(fn)(*arguments),
    "a loop": lambda fn, *arguments: jax.jit(lambda *a: as_kernel(lambda *a: [fn(*a)], *a)[0])(
        *arguments
    )[0],
}


def histories(case, dtype=np.float64, length=LENGTH):
    """Two buffers that know more than any order asks for, and the entries that are meant."""
    rng = np.random.default_rng(len(case))
    shapes, entries = CASES[case][:2], CASES[case][2]
    bodies = [rng.normal(size=(length, *shape)) for shape in shapes]
    if np.issubdtype(dtype, np.complexfloating):
        bodies = [body + 1j * rng.normal(size=body.shape) for body in bodies]
    a, b = (jnp.asarray(body.astype(dtype)) for body in bodies)
    return a, b, entries


def one_by_one(a, b, n, weights, entries):
    """The sum of the definition, and the sum of the magnitudes of its terms."""
    a, b = (
        np.asarray(body) if entry is None else np.asarray(body)[:, entry]
        for body, entry in zip((a, b), entries, strict=True)
    )
    terms = [a[k] * b[n - k] * (1 if weights is None else weights[k]) for k in range(n + 1)]
    return sum(terms), sum(map(np.abs, terms))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_convolution_is_the_sum_of_its_terms(form, case, dtype, weighted):
    a, b, entries = histories(case, dtype)
    weights = jnp.linspace(-1, 3, LENGTH).astype(np.finfo(dtype).dtype) if weighted else None
    orders = jnp.arange(LENGTH, dtype=jnp.int32)

    def all_orders(a, b, *weights):
        return lax.map(lambda n: convolution(a, b, n, *weights, entries=entries), orders)

    found = FORMS[form](all_orders, a, b, *([weights] if weighted else []))
    assert found.dtype == dtype
    for n in range(LENGTH):
        expected, size = one_by_one(a, b, n, weights, entries)
        assert found[n].shape == expected.shape
        # So many roundings each term goes through at most.
        assert np.all(np.abs(found[n] - expected) <= (n + 4) * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [1, 2, 5, 8, 9, 10])
def test_short_histories(form, length):
    a, b, entries = histories("numbers", length=length)
    found = FORMS[form](lambda a, b: convolution(a, b, jnp.int32(length - 1)), a, b)
    expected, size = one_by_one(a, b, length - 1, None, entries)
    assert abs(found - expected) <= 12 * np.finfo(float).eps * size


@pytest.mark.parametrize("form", FORMS)
def test_what_histories_hold_past_the_order_counts_for_nothing(form):
    a, b, _ = histories("vectors")
    n = 9

    def run(a, b):
        return convolution(a, b, jnp.int32(n))

    changed = FORMS[form](run, a.at[n + 1 :].set(7.0), b.at[n + 1 :].set(np.nan))
    np.testing.assert_array_equal(changed, FORMS[form](run, a, b))


@pytest.mark.parametrize("n", range(LENGTH - 1))
def test_a_loop_ends_at_the_order(n):
    a, b, _ = histories("vectors")
    found = FORMS["a loop"](
        lambda a, b: convolution(a, b, jnp.int32(n)), a.at[n + 1 :].set(np.nan), b
    )
    assert np.all(np.isfinite(found))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("axes", [(0, 0), (-1, -1), (-1, None), (None, -1), (0, -1), (None, 0)])
@pytest.mark.parametrize("weighted", [None, 0, -1])
def test_a_batch_is_one_convolution_after_another(case, axes, weighted):
    a, b, entries = histories(case)
    weights = jnp.linspace(-1, 3, LENGTH)
    count, n = 3, jnp.int32(13)

    def run(a, b, weights):
        return convolution(a, b, n, weights, entries)

    def batch(array, axis):
        return array if axis is None else jnp.stack([array, 2 * array, -array], axis=axis)

    def row(array, axis, place):
        return array if axis is None else jnp.take(array, place, axis=axis)

    stacked = [batch(x, axis) for x, axis in zip((a, b, weights), (*axes, weighted), strict=True)]
    for out in (0, -1):
        found = jax.vmap(run, in_axes=(*axes, weighted), out_axes=out, axis_size=count)(*stacked)
        for place in range(count):
            one = run(*map(functools.partial(row, place=place), stacked, (*axes, weighted)))
            np.testing.assert_allclose(
                jnp.take(found, place, axis=out), one, rtol=1e-13, atol=1e-13
            )


def test_a_batch_of_orders():
    a, b, _ = histories("vectors")
    orders = jnp.array([3, 0, 20], jnp.int32)
    found = jax.vmap(lambda n: convolution(a, b, n))(orders)
    expected = [one_by_one(a, b, int(n), None, (None, None))[0] for n in orders]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_derivatives_of_all_kinds(case):
    a, b, entries = histories(case, length=10)

    def run(*arrays):
        a, b, weights = map(jnp.asarray, arrays)
        return convolution(a, b, jnp.int32(7), weights, entries)

    # It is linear in each, so that differences are off by rounding alone.
    check_grads(run, (a, b, jnp.linspace(-1, 3, 10)), order=2, rtol=1e-6)


def test_derivatives_of_complex_histories():
    a, b, _ = histories("numbers", np.complex128, length=10)

    def run(a, b):
        return convolution(jnp.asarray(a), jnp.asarray(b), jnp.int32(9))

    check_grads(run, (a, b), order=2, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_division_by_an_order_gives_the_nearest_number(dtype):
    rng = np.random.default_rng(1)
    numbers = (rng.normal(size=10_000) * 2.0 ** rng.integers(-60, 60, 10_000)).astype(dtype)
    run = jax.jit(divide)
    for n in range(1, 64):
        np.testing.assert_array_equal(run(numbers, jnp.int32(n)), numbers / dtype(n))
