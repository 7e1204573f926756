"""Wrong arguments, and rules and methods of a wrong kind, are refused in the user's terms."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import Primitive
from systems import decay

import asgard as ag
from asgard.taylor import rules

pytestmark = pytest.mark.usefixtures("unchecked")

KEY = jax.random.key(0)
CIRCUIT = decay()


class Step(ag.StochasticMethod):
    """A method that gives what a function of its start says."""

    def step(self, start, h, noise):
        return start.after(self.contents(start, h))


class AddsANumber(Step):
    def contents(self, start, h):
        return start.plus(start.drift(h), 1.0)


class AddsAnotherShape(Step):
    def contents(self, start, h):
        return start.plus(start.diffusion({"W": h}) * jnp.ones(3))


class ReadsNoContents(Step):
    def contents(self, start, h):
        return start.at(start.t, 1.0).drift(h)


class SaysText(Step):
    interpretations = "stratonovich"

    def contents(self, start, h):
        return start.contents


def noisy(method, **options):
    calculus = ag.Stochastic(steps=1, method=method, noise={"W": [0.1]}, **options)
    return ag.simulate(ag.Const(1.0) >> ag.StochasticRegister("t", "W"), [0, 1], calculus=calculus)


def series_by(kind):
    """A series of a primitive whose rule is of a wrong kind."""
    primitive = Primitive("wrong_rule")
    primitive.def_abstract_eval(lambda x: x)
    rules.add_rule("wrong_rule", kind)
    return ag.series(ag.Function(primitive.bind, 1), ag.Stream([0.0, 1.0], "t"), order=2)


def identity(u):
    return (u,)


def fit(loss=lambda circuit: circuit.parts[0].factor ** 2, **options):
    return ag.fit(CIRCUIT, loss, optimizer=optax.sgd(0.1), steps=1, **options)


def simulate(**options):
    return ag.simulate(CIRCUIT, [0.0, 1.0], **options)


CALLS = {
    "a number added to contents": (lambda: noisy(AddsANumber()), "plus of a stochastic step takes"),
    "a change of another shape": (lambda: noisy(AddsAnotherShape()), "shapes of start.contents"),
    "an equation at a number": (lambda: noisy(ReadsNoContents()), "at of a stochastic step takes"),
    "interpretations as text": (
        lambda: noisy(SaysText(), interpretation="stratonovich"),
        "SaysText: interpretations must be a tuple",
    ),
    "a rule of too few arguments": (
        lambda: series_by(rules.Derivative(lambda: 1.0)),
        "the rule of 'wrong_rule': function is called with the last operand, output 1",
    ),
    "a rule of too many arguments": (
        lambda: series_by(rules.Rewrite(lambda u, v: u)),
        "function is called with operand 1: missing a required argument: 'v'",
    ),
    "a rule of another shape": (
        lambda: series_by(rules.Derivative(lambda u, f: jnp.ones(3))),
        "the rule of 'wrong_rule': function result 1 must be float64[], not float64[3]",
    ),
    "a rule of whole numbers": (
        lambda: series_by(rules.Recurrence(identity, lambda n, operands, series: [jnp.int32(1)])),
        "the rule of 'wrong_rule': step result 1 must be float64[], not int32[]",
    ),
    "a rule of nothing": (
        lambda: series_by(rules.Recurrence(identity, lambda n, operands, series: [None])),
        "the rule of 'wrong_rule': step result 1 must be float64[], not None",
    ),
    "a rule that starts with another shape": (
        lambda: series_by(rules.Recurrence(lambda u: [jnp.ones(3)], lambda n, u, f: f)),
        "the rule of 'wrong_rule': start result 1 must be float64[], not float64[3]",
    ),
    "an operand that is no tuple": (
        lambda: rules.Linear(0),
        "Linear: operands must be a tuple of indices, as (0,), not 0",
    ),
    "an operand that is none": (
        lambda: series_by(rules.Linear((3,))),
        "the rule of 'wrong_rule': Linear names the operand of index 3, but the primitive has 1",
    ),
    "a rule of two results": (
        lambda: series_by(rules.Rewrite(lambda u: (u, u))),
        "function must return 1 array, not 2",
    ),
    "a start of no arguments": (
        lambda: series_by(rules.Recurrence(lambda: (1.0,), lambda n, operands, series: [])),
        "start is called with operand 1",
    ),
    "a start that returns an array": (
        lambda: series_by(rules.Recurrence(lambda u: u, lambda n, operands, series: [])),
        "start must return 1 array or more, in a tuple or list",
    ),
    "a step of two arguments": (
        lambda: series_by(rules.Recurrence(identity, lambda n, operands: [])),
        "step is called with the order, operands, series",
    ),
    "a step that returns nothing": (
        lambda: series_by(rules.Recurrence(identity, lambda n, operands, series: [])),
        "step must return 1 array, not 0",
    ),
    "a step that returns an array": (
        lambda: series_by(rules.Recurrence(identity, lambda n, operands, series: jnp.ones(()))),
        "step must return 1 array, in a tuple or list",
    ),
    "a rule made of nothing": (
        lambda: series_by(rules.Built(lambda: None)),
        "make is called with the application",
    ),
    "a key for a number": (lambda: ag.Scalar(KEY), "Scalar.factor holds a random key"),
    "a key for coefficients": (lambda: ag.Stream(KEY, "t"), "holds a random key"),
    "a key for an input": (
        lambda: ag.simulate(ag.Id(), [0.0, 1.0], inputs=(KEY,)),
        "input 0 must be a number",
    ),
    "samples of keys": (lambda: ag.Samples(KEY, [0.0]), "values must be an array of numbers"),
    "a key under Real": (lambda: simulate(key=KEY), "Real draws nothing: leave out key and path"),
    "a path under Discrete": (
        lambda: simulate(path=2, calculus=ag.Discrete()),
        "Discrete draws nothing",
    ),
    "a loss of no arguments": (
        lambda: fit(lambda: 1.0),
        "loss is called with the circuit: too many positional arguments",
    ),
    "a loss that is given too much": (
        lambda: fit(lambda circuit: 1.0, args=(1.0, 2.0)),
        "loss is called with the circuit and 2 more arguments, from args",
    ),
    "residuals that are given too little": (
        lambda: ag.fit_residuals(CIRCUIT, lambda circuit, ts: ts, steps=1),
        "residuals is called with the circuit: missing a required argument: 'ts'",
    ),
    "a negative tolerance of a fit": (lambda: fit(tol=-1.0), "tol must be at least 0, not -1.0"),
    "a tolerance of a fit that is NaN": (lambda: fit(tol={"loss": np.nan}), "tol must be at least"),
    "a true tolerance of a fit": (lambda: fit(tol=True), "tol must be a real number, not True"),
    "a true rtol": (lambda: ag.Real(rtol=True), "rtol must be a real number, not True"),
    "a text for rtol": (lambda: ag.Real(rtol="1e-4"), "rtol must be a number, not '1e-4'"),
    "a text for an atol by name": (lambda: ag.Real(atol={"x": "1e-4"}), "atol['x'] must be a"),
    "a true longest step": (lambda: ag.Real(max_step=True), "max_step must be a real number"),
    "a text for breakpoints": (lambda: ag.Real(breakpoints="1.0"), "breakpoints must be a number"),
    "a text for dt": (lambda: ag.Stochastic(dt="0.1"), "dt must be a number, not '0.1'"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_refused_in_the_users_terms(name):
    call, message = CALLS[name]
    with pytest.raises(ag.CircuitError, match=re.escape(message)):
        call()


def test_a_dense_run_is_evaluated_at_numbers_alone():
    run = simulate(calculus=ag.Real(dense=True, order=4, rtol=1e-3, max_steps=31))
    for wrong in ("a", KEY, None):
        with pytest.raises(ag.CircuitError, match="evaluate: ts must be a"):
            run.evaluate(wrong)
    with pytest.raises(ag.CircuitError, match="side must be"):
        run.evaluate(0.5, side="both")
