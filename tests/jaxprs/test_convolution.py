"""The convolution of two histories, in both of the forms that it compiles to."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow
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
@pytest.mark.parametrize("dtype", [np.float64, slow(np.float32), slow(np.complex128)])
def test_a_convolution_is_the_sum_of_its_terms(form, case, dtype):
    a, b, entries = histories(case, dtype)
    weights = jnp.linspace(-1, 3, LENGTH).astype(np.finfo(dtype).dtype)
    orders = jnp.arange(LENGTH, dtype=jnp.int32)

    def all_orders(a, b, weights):
        """Both sums at each order, one above the other."""
        return lax.map(
            lambda n: jnp.stack(
                [
                    convolution(a, b, n, entries=entries),
                    convolution(a, b, n, weights, entries=entries),
                ]
            ),
            orders,
        )

    both = np.asarray(FORMS[form](all_orders, a, b, weights))
    assert both.dtype == dtype
    for n, weighted in itertools.product(range(LENGTH), (False, True)):
        found = both[n, int(weighted)]
        expected, size = one_by_one(a, b, n, weights if weighted else None, entries)
        assert found.shape == expected.shape
        # So many roundings each term goes through at most.
        assert np.all(np.abs(found - expected) <= (n + 4) * np.finfo(dtype).eps * size)


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


def test_a_loop_ends_at_the_order():
    a, b, _ = map(np.asarray, histories("vectors"))
    run = jax.jit(lambda *arguments: as_kernel(lambda *of: [convolution(*of)], *arguments)[0][0])
    for n in range(LENGTH - 1):
        known = np.where(np.arange(LENGTH)[:, None] <= n, a, np.nan)
        assert np.all(np.isfinite(run(known, b, jnp.int32(n))))


@pytest.mark.parametrize("case", CASES)
def test_a_batch_is_one_convolution_after_another(case):
    a, b, entries = histories(case)
    weights = jnp.linspace(-1, 3, LENGTH)
    count, n = 3, jnp.int32(13)

    def run(a, b, weights):
        return convolution(a, b, n, weights, entries)

    def twice(*arrays):
        return (found := run(*arrays)), found

    def batch(array, axis):
        array = np.asarray(array)
        return array if axis is None else np.stack([array, 2 * array, -array], axis=axis)

    def row(array, axis, place):
        return array if axis is None else np.take(array, place, axis=axis)

    pairs = [(0, 0), (-1, -1), (-1, None), (None, -1), (0, -1), (None, 0)]
    kinds = [(*pair, weighted) for pair in pairs for weighted in (None, 0, -1)]
    stacked = [[batch(x, axis) for x, axis in zip((a, b, weights), k, strict=True)] for k in kinds]

    @jax.jit
    def batches(stacked):
        return [
            jax.vmap(twice, in_axes=axes, out_axes=(0, -1), axis_size=count)(*given)
            for axes, given in zip(kinds, stacked, strict=True)
        ]

    alone = jax.jit(run)
    for axes, given, outs in zip(kinds, stacked, batches(stacked), strict=True):
        for place in range(count):
            one = alone(*map(functools.partial(row, place=place), given, axes))
            for found, out in zip(outs, (0, -1), strict=True):
                np.testing.assert_allclose(
                    np.take(np.asarray(found), place, axis=out), one, rtol=1e-13, atol=1e-13
                )


def test_a_batch_of_orders():
    a, b, _ = histories("vectors")
    orders = jnp.array([3, 0, 20], jnp.int32)
    found = jax.vmap(lambda n: convolution(a, b, n))(orders)
    expected = [one_by_one(a, b, int(n), None, (None, None))[0] for n in orders]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "case", [case if case in ("matrices", "entries") else slow(case) for case in CASES]
)
def test_derivatives_of_all_kinds(case):
    a, b, entries = histories(case, length=10)

    def run(*arrays):
        a, b, weights = map(jnp.asarray, arrays)
        return convolution(a, b, jnp.int32(7), weights, entries)

    # It is linear in each, so that differences are off by rounding alone.
    check_grads(jax.jit(run), (a, b, jnp.linspace(-1, 3, 10)), order=2, rtol=1e-6)


def test_derivatives_of_complex_histories():
    a, b, _ = histories("numbers", np.complex128, length=10)

    def run(a, b):
        return convolution(jnp.asarray(a), jnp.asarray(b), jnp.int32(9))

    check_grads(jax.jit(run), (a, b), order=2, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_division_by_an_order_gives_the_nearest_number(dtype):
    rng = np.random.default_rng(1)
    numbers = (rng.normal(size=10_000) * 2.0 ** rng.integers(-60, 60, 10_000)).astype(dtype)
    run = jax.jit(divide)
    for n in range(1, 64):
        np.testing.assert_array_equal(run(numbers, jnp.int32(n)), numbers / dtype(n))
