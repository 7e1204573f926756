"""Functions made alike are one, and no others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asgard.optimize.makeup import Made


def scaled(factor, table=()):
    def inner(x):
        return factor * x + len(table)

    return inner


def recursive(depth):
    def down(n):
        return depth if n == 0 else down(n - 1)

    return down


KEY = jax.random.key
ALIKE = {
    "closures": lambda: scaled(2.0, [1, {"a": (None, "b")}]),
    "arrays": lambda: scaled(jnp.arange(3.0)),
    "arrays of NumPy": lambda: scaled(np.arange(3)),
    "keys": lambda: scaled(KEY(3)),
    "partials": lambda: functools.partial(scaled(1.0), x=2),
    "recursion": lambda: recursive(2),
    "adam": lambda: optax.adam(1e-2),
    "chain": lambda: optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 50))
    ),
    "lbfgs": lambda: optax.lbfgs(),
}
UNLIKE = {
    "numbers": (scaled(1.0), scaled(2.0)),
    "types of numbers": (scaled(1.0), scaled(1)),
    "signs of zero": (scaled(0.0), scaled(-0.0)),
    "arrays": (scaled(jnp.zeros(3)), scaled(jnp.zeros(3).at[0].set(1))),
    "dtypes": (scaled(np.zeros(2)), scaled(np.zeros(2, np.float32))),
    "shapes": (scaled(np.zeros((1, 2))), scaled(np.zeros((2, 1)))),
    "keys": (scaled(KEY(3)), scaled(KEY(4))),
    "code": (scaled(1.0), recursive(1.0)),
    "objects": (scaled(object()), scaled(object())),
    "adam": (optax.adam(1e-2), optax.adam(2e-2)),
    "schedules": tuple(optax.adam(optax.cosine_decay_schedule(0.1, n)) for n in (50, 60)),
    "defaults": (lambda x=1: x, lambda x=2: x),
}


@pytest.mark.parametrize("make", ALIKE.values(), ids=ALIKE)
def test_functions_made_alike_are_equal(make):
    assert Made(make()) == Made(make())
    assert hash(Made(make())) == hash(Made(make()))


@pytest.mark.parametrize(("one", "other"), UNLIKE.values(), ids=UNLIKE)
def test_functions_that_differ_are_not(one, other):
    assert Made(one) == Made(one)
    assert Made(one) != Made(other)


def test_traced_values_are_only_themselves():
    def compare(x):
        assert Made(scaled(x)) == Made(scaled(x))
        assert Made(scaled(x)) != Made(scaled(x + 0))
        return x

    jax.jit(compare)(1.0)
