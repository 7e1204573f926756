"""Programs of their own, which XLA's older emitters compile, and the same as parts of others."""

import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asgard.jaxprs import compiling
from asgard.jaxprs.compiling import Jit


def cube(x):
    return x**3


def test_a_program_has_its_value_and_derivatives_wherever_it_is_called():
    fn = Jit(cube)
    xs = np.array([1.0, 2.0])

    def everywhere(xs):
        return fn(xs[0]), jax.grad(fn)(xs[1]), jax.vmap(fn)(xs)

    for run in everywhere, jax.jit(everywhere):
        value, slope, values = run(xs)
        assert (value, slope) == (1.0, 12.0)
        np.testing.assert_array_equal(values, [1.0, 8.0])


@pytest.mark.parametrize("transform", [jax.jit, jax.grad])
def test_options_are_of_whole_programs(transform):
    fn, called = Jit(cube), []
    fn.whole = lambda x: called.append("whole") or fn.part(x)
    assert fn(2.0) == 8.0
    assert called == ["whole"]
    transform(fn)(2.0)
    # A function may close over what is traced, and no argument shows it.
    transform(lambda x: fn(1.0) * x)(2.0)
    fn(np.ones(compiling.SMALL + 1))
    fn(np.ones((2, compiling.SMALL_MATRIX)))
    assert called == ["whole"]
    fn(np.ones(compiling.SMALL))
    assert called == ["whole", "whole"]


def test_it_may_be_imported_while_a_function_is_traced():
    imported = []

    def run(x):
        imported.append(runpy.run_path(compiling.__file__)["Jit"](cube))
        return imported[0](2.0) * x

    assert jax.jit(run)(1.0) == 8.0
    imported[0].whole = lambda x: "whole"
    assert imported[0](2.0) == "whole"


def test_a_jaxlib_without_older_emitters_gets_no_options(monkeypatch):
    fn = Jit(cube)
    monkeypatch.setattr(compiling, "WITHOUT_OLDER_EMITTERS", (0, 0))
    assert fn.whole is fn.part
    assert fn(jnp.ones(())) == 1.0
