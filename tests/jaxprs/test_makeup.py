"""Functions made alike are one, and no others."""

import functools
import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgard as ag
from asgard.jaxprs.makeup import Made


def scaled(factor, table=()):
    def inner(x):
        return factor * x + len(table)

    return inner


def recursive(depth):
    def down(n):
        return depth if n == 0 else down(n - 1)

    return down


def reading(**names):
    """A function of a module of its own, which has these globals."""
    module = {"__name__": "elsewhere", **names}
    exec("def helper(x):\n    return number * x\n\ndef fn(x):\n    return helper(x)", module)
    return module["fn"]


def with_global(number):
    """One function, after a global that its helper reads has been set."""
    READER.__globals__["number"] = number
    return READER


READER = reading(number=1.0)
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
    "calculi": lambda: scaled(ag.Real(order=10, rtol=1e-6)),
    "circuits": lambda: scaled(ag.Scalar(2.0) >> ag.Register("t", 1.0)),
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
    "calculi": (scaled(ag.Real(rtol=1e-6)), scaled(ag.Real(rtol=1e-7))),
    "structures": (scaled(ag.Scalar(1.0)), scaled(ag.Const(1.0))),
}


@pytest.mark.parametrize("make", ALIKE.values(), ids=ALIKE)
def test_functions_made_alike_are_equal(make):
    assert Made(make()) == Made(make())
    assert hash(Made(make())) == hash(Made(make()))


@pytest.mark.parametrize(("one", "other"), UNLIKE.values(), ids=UNLIKE)
def test_functions_that_differ_are_not(one, other):
    assert Made(one) == Made(one)
    assert Made(one) != Made(other)


def test_a_function_is_another_once_a_global_that_it_or_its_helper_reads_has_changed():
    first, second = (Made(with_global(number)) for number in (1.0, 2.0))
    assert first != second
    assert first == Made(with_global(1.0))


def test_a_function_is_another_once_a_number_of_an_object_that_it_closes_over_has_changed():
    holder = types.SimpleNamespace(number=1.0)
    first = Made(scaled(holder))
    assert first == Made(scaled(holder))
    holder.number = 2.0
    assert first != Made(scaled(holder))
    holder.table = {"a": [1.0]}
    second = Made(scaled(holder))
    holder.table["a"][0] = 2.0
    assert second != Made(scaled(holder))


@pytest.mark.parametrize("kind", [types.ModuleType, lambda name: type(name, (), {})])
def test_a_function_is_another_once_what_it_reads_of_a_module_or_a_class_has_changed(kind):
    owner = kind("settings")
    owner.number = 1.0
    module = {"__name__": "elsewhere", "settings": owner}
    exec("def fn(x):\n    return settings.number * x", module)
    first = Made(module["fn"])
    assert first == Made(module["fn"])
    owner.number = 2.0
    assert first != Made(module["fn"])


def test_a_fit_reads_the_globals_of_its_loss_as_they_are_now():
    def fitted():
        options = {"optimizer": optax.sgd(0.5), "steps": 2}
        return ag.fit(ag.Scalar(3.0), lambda c: (c.factor - TARGET) ** 2, **options).circuit.factor

    global TARGET
    for TARGET in (1.0, 2.0):
        assert fitted() == TARGET


def test_a_fingerprint_is_the_same_in_another_process():
    code = (
        "import optax, asgard.jaxprs.makeup as m\n"
        "def loss(c, k=1): return c.x in {'one', 'two', 'three'} or (lambda: 3.5)\n"
        "print(m.Made((loss, optax.adam(0.1).update)).fingerprint())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_fit_within_a_trace_leaves_nothing_of_it_behind():
    @jax.jit
    def fitted(target):
        loss = lambda c: (c.factor - target) ** 2  # noqa: E731
        return ag.fit(ag.Scalar(3.0), loss, optimizer=optax.sgd(0.5), steps=2).circuit.factor

    with jax.checking_leaks():
        assert fitted(1.5) == 1.5


def test_traced_values_are_only_themselves():
    def compare(x):
        assert Made(scaled(x)) == Made(scaled(x))
        assert Made(scaled(x)) != Made(scaled(x + 0))
        return x

    jax.jit(compare)(1.0)
