"""One system said in four ways is one system."""

import jax.numpy as jnp
import pytest

import asgard as ag
from asgard.language.rewriting.comparing import same_system

pytestmark = pytest.mark.usefixtures("unchecked")


def rates(t, y, *, a=1.1, b=0.4, c=0.9):
    meet = y["x"] * y["y"] * b
    return {"x": a * y["x"] - meet, "y": meet - c * y["y"]}


@ag.circuit
def hunt(*, a=1.1, b=0.4, c=0.9):
    y, x = ag.register("t", 0.5), ag.register("t", 1.0)
    x.input = x * (a - b * y)
    y.input = -(c * y - b * x * y)
    return x, y


def equations(a):
    return ag.equations(
        "diff(x, t) = x*(a - b*y)\ndiff(y, t) = -c*y + b*x*y",
        parameters={"a": a, "b": 0.4, "c": 0.9},
        initial={"x": 1.0, "y": 0.5},
    )


def wired():
    prey = ag.Scalar(1.1) @ ag.Scalar(-0.4) >> ag.Add() >> ag.Register("t", 1.0)
    predator = ag.Scalar(-0.9) @ ag.Scalar(0.4) >> ag.Add() >> ag.Register("t", 0.5)
    # From x and y to these, and to what the two read: x and xy, y and xy.
    reads = (
        ag.Split(3) @ ag.Split(3)
        >> ag.Permute((0, 3, 1, 4, 2, 5))
        >> ag.Id(4) @ (ag.Multiplication() >> ag.Split())
        >> ag.Permute((0, 1, 2, 4, 3, 5))
    )
    return (prey @ predator >> reads).trace(4)


FORMS = {
    "ode": lambda: ag.ode(rates, {"x": 1.0, "y": 0.5}),
    "function": lambda: hunt(),
    "equations": lambda: equations(1.1),
    "wiring": wired,
}


@pytest.mark.parametrize("name", FORMS)
def test_a_system_is_the_same_whichever_way_it_is_said(name):
    circuit = FORMS[name]()
    for other in FORMS.values():
        assert same_system(circuit, other())
        assert same_system(ag.simplify(other()), circuit)
    assert not same_system(circuit, hunt(b=0.41))
    assert not same_system(circuit, equations(-1.1))


def test_rewritten_equations_are_the_same_system():
    text = "diff(x, t) = diff(x^2*t, t)/2 - sin(x)*(1 + 0*x) + (x + 1)^2"
    found = ag.rewrite(text, ag.rules.arithmetic + ag.rules.calculus)
    assert found != text
    assert same_system(ag.equations(text), ag.equations(found))
    assert not same_system(ag.equations(text), ag.equations(found + " + x"))


ALIKE = [
    ("composition(split, multiplication)", "power(2)"),
    ("composition(split, monoidal(sin, sin), add)", "composition(sin, scalar(2.0))"),
    ("composition(scalar(2.0), scalar(3.0))", "scalar(6.0)"),
    ("composition(monoidal(id, power(-1)), multiplication)", "divide"),
    ("composition(coordinate(t), exp)", "composition(coordinate(t), id, exp)"),
    ("trace(composition(monoidal(id, cos), add, unknown, split))",
     "trace(composition(monoidal(id, cos), swap, add, unknown, split))"),
]  # fmt: skip
APART = [
    ("sin", "cos"),
    ("register(t, 1.0)", "register(t, 2.0)"),
    ("register(t)", "register(x)"),
    ("stochastic_register(t, w)", "stochastic_register(t, v)"),
    ("swap", "id(2)"),
    ("sin", "monoidal(sin, sin)"),
    ("power(2)", "power(3)"),
    ("divide", "composition(swap, divide)"),
    ("coordinate(t)", "coordinate(x)"),
]


def test_laws_of_arithmetic_make_circuits_the_same():
    for left, right in ALIKE:
        assert same_system(ag.parse(left), ag.parse(right)), (left, right)
    for left, right in APART:
        assert not same_system(ag.parse(left), ag.parse(right)), (left, right)


def test_a_number_cut_to_an_integer_is_another():
    def scaled(factor):
        return ag.ode(factor, 2.5)

    plain = scaled(lambda t, y: -y)
    assert same_system(plain, scaled(lambda t, y: -1.0 * y.astype(jnp.float32).astype(y.dtype)))
    assert not same_system(plain, scaled(lambda t, y: -y.astype(int).astype(float)))
    assert not same_system(plain, scaled(lambda t, y: -y.astype(bool).astype(float)))


def test_copies_of_a_state_are_one_and_arrays_are_compared():
    grow = (ag.Register("t", 1.0) >> ag.Split()).trace()
    assert same_system(grow @ grow, grow >> ag.Split())
    assert not same_system(grow @ grow, grow @ (ag.Register("t", 2.0) >> ag.Split()).trace())
    for other, same in ([1.0, 2.0], True), ([1.0, 3.0], False):
        pair = [ag.Scalar(jnp.array(numbers)) for numbers in ([1.0, 2.0], other)]
        assert same_system(*pair) is same
