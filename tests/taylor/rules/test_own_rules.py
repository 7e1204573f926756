"""Rules for primitives of one's own, said from outside of the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir

import asgard as ag
from asgard.taylor import rules
from asgard.taylor.series import convolve, divide, of_order


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


def grown(n, operands, series):
    """Coefficient n of an exponential."""
    return [divide(convolve(operands[0], series[0], n, weight=of_order), n)]


def late(n, operands, series):
    """As `grown`, but wrong from order 3 on."""
    (right,) = grown(n, operands, series)
    return [right * jnp.where(n >= 3, 1.001, 1.0)]


WRONG = [
    (rules.Derivative(lambda u, f: 2 * f), "coefficient 1 is .* by JAX's derivatives"),
    (rules.Rewrite(lambda u: 2 * jnp.exp(u)), "coefficient 0 is .* by the function itself"),
    (rules.Recurrence(lambda u: (jnp.exp(u),), late), "coefficient 3 is "),
    (
        rules.Recurrence(lambda u: (jnp.exp(u),), lambda n, o, s: grown(n, o, s) if n else []),
        "rule of 'test_tried': step cannot be traced: write it with jax.numpy",
    ),
    (
        rules.Rewrite(lambda u: jnp.exp(u) if u > 0 else u),
        "rule of 'test_tried' cannot be traced",
    ),
    (rules.Rewrite(lambda u: tried(u)), "its Rewrite uses the primitive itself"),
    (rules.Bilinear(lambda params: jnp.multiply), "a product of two operands, .* has 1"),
    (rules.Built(lambda application: None), "make must return a Rule, .* not None"),
    (rules.Built(lambda application: rules.Linear()), "make must return a Rule, .* not Linear"),
]
tried_p = Primitive("test_tried")
tried_p.def_impl(jnp.exp)
tried_p.def_abstract_eval(lambda x: x)
mlir.register_lowering(tried_p, mlir.lower_fun(jnp.exp, multiple_results=False))
ad.defjvp(tried_p, lambda tangent, x: tangent * tried(x))


def tried(x):
    return tried_p.bind(x)


@pytest.mark.parametrize(("kind", "message"), WRONG)
def test_a_wrong_rule_is_told(kind, message):
    rules.add_rule("test_tried", kind)
    with pytest.raises(ag.CircuitError, match=message):
        ag.taylor.check_rules(lambda u: tried(u), 0.3, order=3)


def test_right_rules_pass():
    rules.add_rule("test_tried", rules.Recurrence(lambda u: (jnp.exp(u),), grown))
    ag.taylor.check_rules(lambda u, v: {"a": tried(u), "b": u * v}, 0.3, np.ones(2), order=2)
    with pytest.raises(ag.CircuitError, match=r"derivatives by JAX: .*test_gaussian"):
        ag.taylor.check_rules(lambda u: gaussian(u), 0.3, order=1)
