"""Equations and circuits by rules."""

import random

import numpy as np
import pytest
from random_circuits import random_circuit

import asgard as ag
from asgard.circuits.graph import flatten
from asgard.language.equations.reading import read
from asgard.language.rewriting.collocation import outputs
from asgard.language.rewriting.instances import streams

pytestmark = pytest.mark.usefixtures("unchecked")

ALL = [ag.rules.arithmetic, ag.rules.functions, ag.rules.calculus]
EXPRESSIONS = {
    "x*0 + 1*y": "y",
    "-(-x) + 0": "x",
    "2*x + 3*x - x": "4*x",
    "x*x^2/x": "x^2",
    "y + x/x^3 + diff(4*a, t, 2)": "y + x^(-2)",
    "a - b + b": "a",
    "2*3*x^1 - 0/y": "6*x",
    "(a + b)*1/(a + b)": "1",
    "-2*x*y": "-2*x*y",
    "1/x": "1/x",
    "1/x*2": "2/x",
    "1/(1/x)": "x",
    "exp(x)*exp(-x)": "1",
    "sin(3*x)^2 + y + cos(3*x)^2": "1 + y",
    "diff(int(y, t), t)": "y",
    "diff(2*a*y + t^2, t)": "2*a*diff(y, t) + 2*t",
    "diff(sin(k*t), t)": "cos(k*t)*k",
    "diff(y*z, t)": "diff(y, t)*z + y*diff(z, t)",
    "diff(diff(u, x), x) + diff(t, t)": "diff(u, x, 2) + 1",
    "int(k*y - z, t)": "k*int(y, t) - int(z, t)",
    "if(x < y, 2*z, z + z)": "2*z",
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_become_what_one_writes(text):
    assert ag.rewrite(text, ALL, constants=("a", "b", "k")) == EXPRESSIONS[text]


def test_systems_keep_their_lines_definitions_and_what_they_define():
    text = """
    g(v) = 0*v + v^1
    system tank(inflow, rate) -> level {
        diff(level, t) = inflow*1 - rate*level
    }
    p = tank(g(1 + 1), 2)
    diff(h, t, 2) = -(-9.81)*p.level
    reset(diff(h, t), -h + 0, -(0.5*1)*diff(h, t))
    """
    found = ag.rewrite(text, ag.rules.arithmetic)
    assert found.split("\n") == [
        "g(v) = v",
        "system tank(inflow, rate) -> level {",
        "    diff(level, t) = inflow - rate*level",
        "}",
        "p = tank(g(2), 2)",
        "diff(h, t, 2) = 9.81*p.level",
        "reset(diff(h, t), -h, -0.5*diff(h, t))",
    ]
    assert str(read(found)) == found
    assert ag.rewrite(found, ag.rules.arithmetic) == found


def test_what_depends_on_a_coordinate_stays_in_its_derivative():
    rule = "diff([A]*[F], [X]) => [A]*diff([F], [X]) where [A] is free of [X]"
    assert ag.rewrite("diff(a*y, t)", rule) == "diff(a*y, t)"
    assert ag.rewrite("diff(a*y, t)", rule, constants=("a",)) == "a*diff(y, t)"
    assert ag.rewrite("diff($a*y, t)", rule) == "$a*diff(y, t)"
    assert ag.rewrite("diff(x*y, t) + diff(y, x)", rule) == "x*diff(y, t) + diff(y, x)"
    assert ag.rewrite("y = diff(pi*y, t)", rule) == "y = pi*diff(y, t)"
    # A function of the text depends on what its equation says, whatever it is called.
    system = "logit(v) = v + z\ny = diff(logit(2)*z, t)"
    assert ag.rewrite(system, rule) == system
    # An unknown, or an argument of a function is no constant of the same name.
    assert ag.rewrite("pi = diff(pi*y, t)", rule) == "pi = diff(pi*y, t)"
    assert ag.rewrite("g(a) = diff(a*y, t)", rule, constants=("a",)) == "g(a) = diff(a*y, t)"


def test_rewritten_equations_say_the_same_circuit():
    text = "diff(x, t) = diff(a*x^2*t, t) - 0*x\nz = int(2*x + 3*x, t) + x*x/x"
    found = ag.rewrite(text, ALL, constants=("a",))
    assert found != text
    both = [
        ag.equations(one, parameters={"a": 0.3}, initial={"x": 1.0}, outputs=("x", "z"))
        for one in (text, found)
    ]
    left, right = (
        np.stack([one.coefficients for one in ag.series(each, order=6)]) for each in both
    )
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_strategies_say_where_and_how_often():
    rule = "sin([X]) => cos([X])"
    text = "y = sin(sin(x)) + sin(z)"
    assert ag.rewrite(text, rule, "once") == "y = cos(sin(x)) + sin(z)"
    assert ag.rewrite(text, rule, "bottom-up") == "y = cos(cos(x)) + cos(z)"
    assert ag.rewrite(text, "f(f([X])) => [X]", "once") == text
    nested = "f(f(f(f(x))))"
    assert ag.rewrite(nested, "f(f([X])) => g([X])", "top-down") == "g(g(x))"
    assert ag.rewrite(nested, "f(f([X])) => g([X])", "bottom-up") == "g(g(x))"
    assert ag.rewrite(nested, "f(f([X])) => g([X])", "once") == "g(f(f(x)))"
    assert ag.rewrite(nested, "f(f([X])) => f([X])") == "f(x)"
    assert ag.rewrite("0 + 0*x", "[X]*0 => 0\n[X] + 0 => [X]", "bottom-up") == "0"


ENDLESS = {
    "[X] + [Y] => [Y] + [X]": r"'\[X\] \+ \[Y\] => \[Y\] \+ \[X\]' goes round in circles",
    "sin([X]) => cos([X])\ncos([X]) => sin([X])": r"'sin.*' and 'cos.*' go round in circles",
    "sin([X]) => sin(sin([X]))": r"without an end, most often 'sin\(\[X\]\) => sin\(sin",
    "sin([X]) => sin([X] + 1)": "most often 'sin",
    "sin([X]) => sin([X]) + sin([X])": "most often 'sin",
}


@pytest.mark.parametrize("rule", ENDLESS)
def test_rules_without_an_end_are_named(rule):
    with pytest.raises(ag.CircuitError, match=ENDLESS[rule]):
        ag.rewrite("y = sin(a + b)", rule, most=500)


CIRCUITS = {
    "composition(scalar(2.0), id, scalar(3.0), sin)": "composition(scalar(6.0), sin)",
    "monoidal(id, id(2))": "id(3)",
    "composition(permute(2, 0, 1), permute(2, 0, 1))": "permute(1, 2, 0)",
    "composition(permute(2, 0, 1), permute(1, 2, 0))": "id(3)",
    "composition(swap, permute(1, 0), cos, sin)": None,
    "trace(swap)": "id",
    "trace(trace(permute(2, 0, 1)))": "trace(permute(2, 0, 1), 2)",
    "composition(split, swap, monoidal(discard, id), sin)": "sin",
    "composition(monoidal(exp, const(0.0)), add)": "exp",
    "composition(monoidal(const(2.0), exp), multiplication)": "composition(exp, scalar(2.0))",
    "composition(sin, register(t, 1.0), deregister(t))": "sin",
    "composition(scalar(1.0), power(2), power(3), add(1))": "power(6)",
    "composition(monoidal(sin, cos), monoidal(exp, tanh))": (
        "monoidal(composition(sin, exp), composition(cos, tanh))"
    ),
    "composition(swap, add, split)": "composition(add, split)",
    "composition(const(2.0), scalar(3.0))": "const(6.0)",
}


@pytest.mark.parametrize("text", [text for text in CIRCUITS if CIRCUITS[text]])
def test_circuits_become_what_one_writes(text):
    found = ag.rewrite(ag.parse(text), ag.rules.circuits)
    assert str(found) == CIRCUITS[text]
    assert ag.parse(str(found)) == found


def test_patterns_of_circuits_see_numbers_names_and_defaults():
    circuit = ag.parse("composition(register(t, 2.0), register(x), scalar(2.0), split)")
    rules = "register(t, [A]) => delay(t, [A])\nregister(x) => id\nscalar(2) => power(2)"
    assert str(ag.rewrite(circuit, rules)) == "composition(delay(t, 2.0), id, power(2), split)"
    assert ag.rewrite(circuit, "register(t) => id\nregister(x, 2) => id\nsplit(3) => id") == circuit
    twice = ag.parse("monoidal(composition(sin, sin), composition(sin, cos))")
    assert str(ag.rewrite(twice, "composition([F], [F]) => [F]")) == (
        "monoidal(sin, composition(sin, cos))"
    )


def test_constraints_stay_where_rules_move_them_and_are_not_multiplied():
    circuit = ag.Scalar(ag.Positive(2.0)) >> ag.Scalar(3.0)
    assert ag.rewrite(circuit, ag.rules.circuits) == circuit
    moved = ag.rewrite(circuit, "composition(scalar([A]), scalar([B])) => scalar([A])", "once")
    assert isinstance(moved.factor, ag.Positive)


def test_own_atoms_and_blocks_are_what_placeholders_stand_for():
    class Clip(ag.Atom):
        n_in = n_out = 1

        def __call__(self, x):
            return x.clip(0, 1)

    clip = Clip()
    found = ag.rewrite(ag.Id() >> clip >> ag.Id(), ag.rules.circuits)
    assert found == clip


def test_a_rule_that_changes_wires_is_refused():
    with pytest.raises(ag.DegreeError, match=r"changes how many wires there are, from .*1 -> 2"):
        ag.rewrite(ag.Sin() >> ag.Split(), "composition([F], [G]) => [F]")
    with pytest.raises(ag.DegreeError, match="is no circuit"):
        ag.rewrite(ag.Sin() >> ag.Split(), "composition([F], [G]) => composition([G], [F], [F])")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, "[X]*0 => 0"), "takes a circuit or the text of equations, not int"),
        (("x = 1", 3), "rules are texts or groups of rules, not int"),
        (("x = 1", ag.rules.circuits), "rules for circuits, and this is a text of equations"),
        ((ag.Sin(), [ag.rules.calculus]), "rules for equations, and this is a circuit"),
        (("x = 1", "[X]*0 => 0", "twice"), 'strategy must be "repeat" or "once"'),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ag.CircuitError, match=message):
        ag.rewrite(*arguments)
    with pytest.raises(ag.CircuitError, match="constants are names"):
        ag.rewrite("x = 1", "[X]*0 => 0", constants="ab")


def test_circuits_that_nest_too_deep_are_refused():
    circuit = ag.Split()
    for _ in range(60):
        circuit = (circuit >> ag.Add() >> ag.Split()) @ ag.Id() >> ag.Id() @ ag.Add()
    with pytest.raises(ag.CircuitError, match="nests more than 100 deep"):
        ag.rewrite(circuit, ag.rules.circuits)


@pytest.mark.parametrize("seed", range(2))
def test_random_circuits_keep_their_values(seed):
    draw = random.Random(seed)
    for _ in range(40):
        circuit = random_circuit(draw, draw.randint(0, 2), draw.randint(1, 2), depth=4)
        found = ag.rewrite(circuit, ag.rules.circuits)
        inputs = streams(draw, circuit.n_in)
        np.testing.assert_allclose(outputs(found, inputs), outputs(circuit, inputs), atol=1e-11)
        assert len(flatten(found).nodes) <= len(flatten(circuit).nodes)
        assert ag.parse(str(found)) == found
