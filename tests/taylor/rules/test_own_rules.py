"""Rules for primitives of one's own, said from outside of the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

import asgard as ag
from asgard.taylor import rules


def primitive(name, fn):
    """A made-up primitive of one operand."""
    made = Primitive(name)
    made.def_abstract_eval(lambda x: x)
    made.def_impl(fn)
    mlir.register_lowering(made, mlir.lower_fun(fn, multiple_results=False))
    return made.bind


gaussian = primitive("test_gaussian", lambda x: jnp.exp(-x * x))
rules.add_rule("test_gaussian", rules.Derivative(lambda u, f: -2 * u * f))
cube = primitive("test_cube", lambda x: x * x * x)
rules.add_rule("test_cube", rules.Rewrite(lambda u: u**3))
double = primitive("test_double", lambda x: 2 * x)
rules.add_rule("test_double", rules.Linear())
ramp = primitive("test_ramp", lambda x: 3 * x)
rules.add_rule("test_ramp", rules.Derivative(lambda u, _: 3.0))
steps = primitive("test_steps", jnp.floor)
rules.add_rule("test_steps", rules.Frozen())
unknown = primitive("test_unknown", jnp.sin)


def test_made_up_primitives_have_the_series_of_their_rules():
    x = ag.Stream([0.5, 1.0, 0.25, 0.0, 0.0, 0.0], "t")
    pairs = {
        gaussian: lambda u: jnp.exp(-u * u),
        cube: lambda u: u * u * u,
        double: lambda u: 2 * u,
        ramp: lambda u: 3 * u,
        steps: jnp.floor,
    }

    def run(fns):
        return ag.taylor.expand(lambda u: [fn(u) * u for fn in fns], x)

    for got, expected in zip(run(pairs.keys()), run(pairs.values()), strict=True):
        np.testing.assert_allclose(got.coefficients, expected.coefficients, rtol=1e-13, atol=1e-15)


def test_a_made_up_primitive_has_the_series_of_a_solution():
    # y' = exp(-y^2), so y'' = -2 y y'^2 and y''' = (8 y^2 - 2) y'^3, which is 0 at 1/2.
    y = ag.taylor.ode(lambda t, y: gaussian(y), 0.5, order=3)
    slope = np.exp(-0.25)
    np.testing.assert_allclose(y, [0.5, slope, -slope * slope / 2, 0], atol=1e-15)


def test_faults_of_rules_are_named():
    with pytest.raises(ag.CircuitError, match="one of the kinds of rules"):
        rules.add_rule("test_unknown", jnp.cos)
    with pytest.raises(ag.CircuitError, match="the name of a primitive"):
        rules.add_rule(Primitive("test_unknown"), rules.Linear())
    with pytest.raises(ag.CircuitError, match=r"'test_unknown' has no series rule.*rules.add_rule"):
        jax.eval_shape(lambda: ag.taylor.expand(unknown, ag.Stream([0.0, 1.0], "t")))
