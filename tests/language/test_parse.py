"""Texts of circuits: printing and reading are inverse."""

import random
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import drawn, slow
from hypothesis import given, settings
from strategies import circuits
from systems import Decay, Saturation

import asgard as ag
from asgard.circuits.atoms import functions

pytestmark = pytest.mark.usefixtures("unchecked")


@settings(deadline=None)
@given(circuits())
def test_parse_inverts_str(circuit):
    read = ag.parse(str(circuit))
    assert read == circuit
    assert jax.tree.structure(read) == jax.tree.structure(circuit)
    assert str(read) == str(circuit)


ATOMS = [
    *(ag.Id(), ag.Id(3), ag.Split(), ag.Split(5), ag.Add(), ag.Add(7), ag.Multiplication(3)),
    *(ag.Discard(), ag.Swap(), ag.Divide(), ag.Permute((2, 0, 1)), ag.Permute((0,))),
    *(ag.Var("x"), ag.Var("add"), ag.Scalar(-1.5e-7), ag.Const(1e300), ag.Const(0.1)),
    *(ag.Scalar(float("inf")), ag.Scalar(-float("inf")), ag.Scalar(1 - 2j), ag.Const(-3j)),
    *(ag.Power(3), ag.Power(-2), ag.Power(2.0), ag.Power(0.5), ag.Coordinate("inf")),
    *(ag.Register("t"), ag.Register("t", 2.5), ag.Deregister("x"), ag.Delay("n", -1.0)),
    *(ag.StochasticRegister("t", "W"), ag.StochasticRegister("t", "W", 0.5)),
    ag.Substitution(ag.TaylorPolynomial("exp", 8, "t"), ag.Scalar(2.0), "t"),
    ag.Substitution(ag.TaylorPolynomial("cos", 3, "x") >> ag.Scalar(2.0), ag.Sin(), "x"),
]


@pytest.mark.parametrize("atom", ATOMS, ids=str)
def test_every_form_of_atom_comes_back(atom):
    read = ag.parse(str(atom))
    assert read == atom
    assert [leaf.dtype for leaf in jax.tree.leaves(read)] == [
        leaf.dtype for leaf in jax.tree.leaves(atom)
    ]


def test_nan_comes_back():
    assert np.isnan(ag.parse("const(nan)").value)
    assert np.isnan(ag.parse("const(-NaN)").value)


def test_every_elementary_function_is_a_keyword():
    atoms = [atom for atom in vars(functions).values() if isinstance(atom, type)]
    elementary = [atom for atom in atoms if issubclass(atom, functions.Elementary)]
    assert len(elementary) > 15
    for atom in elementary:
        if atom is not functions.Elementary:
            assert ag.parse(atom.__name__.upper()) == atom()


def test_the_documented_text():
    text = "trace(composition(composition(add, split), monoidal(id, register(x))))"
    after_sum = ag.Monoidal(ag.Id(), ag.Register("x"))
    assert ag.parse(text) == ag.Trace(ag.Composition(ag.Add(), ag.Split(), after_sum))


def test_white_space_and_the_case_of_keywords_are_free():
    read = ag.parse(" \r\n\tComposition ( SCALAR(\n2 ) ,Register( T ,\t+.5E0) )\n")
    assert read == ag.Composition(ag.Scalar(2.0), ag.Register("T", 0.5))


def test_an_integer_power_is_structure_and_another_is_a_number():
    assert jax.tree.leaves(ag.parse("power(3)")) == []
    assert jax.tree.leaves(ag.parse("power(3.0)")) == [3.0]


def test_compositions_inside_are_taken_apart():
    assert ag.parse("composition(id, composition(exp, sin), cos)") == ag.Composition(
        ag.Id(), ag.Exp(), ag.Sin(), ag.Cos()
    )
    assert ag.parse("trace(id(3), 2)") == ag.Trace(ag.Id(3), 2)


def test_own_circuits_are_read_by_name():
    layer = ag.Function(drawn(eqx.nn.MLP, 1, 1, 4, 1), 1)
    names = {"Saturation": Saturation(2.0), "Decay": Decay(0.3), "MLP": layer, "größe": ag.Id()}
    circuit = (Saturation(2.0) @ layer) >> ag.Add() >> Decay(0.3)
    assert ag.parse(str(circuit), names=names) == circuit
    term = ag.Exp() >> ag.Sin()
    assert ag.parse("composition(Block, größe)", names={**names, "Block": term}) == term >> ag.Id()


CHAIN = 2000
DEEP = "composition(monoidal(" * CHAIN + "id" + ", const(1.0)), add)" * CHAIN


def _nested(length: int) -> ag.Circuit:
    circuit = ag.Id()
    for _ in range(length):
        circuit = ag.Composition(ag.Monoidal(ag.Const(1.0), circuit), ag.Multiplication())
    return circuit


@pytest.mark.parametrize(
    "build",
    [
        lambda: ag.Composition(*map(ag.Scalar, np.arange(CHAIN).tolist())),
        lambda: ag.Monoidal(*map(ag.Const, np.arange(CHAIN).tolist())) >> ag.Add(CHAIN),
        slow(lambda: _nested(CHAIN)),
        slow(lambda: ag.parse(DEEP)),
    ],
    ids=["chain", "sum", "right nest", "left nest"],
)
def test_circuits_of_thousands_come_back(build):
    circuit = build()
    text = str(circuit)
    read = ag.parse(text)
    assert read == circuit
    assert str(read) == text


@pytest.mark.parametrize(
    "text", ["composition({}, exp)", "composition(exp, {})", "trace(trace({}))"]
)
def test_nesting_meets_no_recursion_limit(text):
    left, right = text.split("{}")
    inner = "id" if "comp" in text else "id(4000)"
    circuit = ag.parse(left * 1500 + inner + right * 1500)
    assert circuit.n_in == (1 if "comp" in text else 1000)
    assert ag.parse(str(circuit)) == circuit


MALFORMED = [
    ("", 1, 1, "the text is empty", ("a circuit",)),
    (" \n ", 1, 1, "the text is empty", ("a circuit",)),
    ("composition(add,\n split", 2, 7, "ends too early, in argument 2", ("','", "')'")),
    ("composition(add", 1, 16, "ends too early", ("','",)),
    ("composition(add,)", 1, 17, "unexpected ')'", ("a circuit",)),
    ("composition", 1, 1, "takes 2 arguments or more; it is given 0", ("a circuit",)),
    ("monoidal(id)", 1, 1, "takes 2 arguments or more; it is given 1", ("a circuit",)),
    ("id)", 1, 3, "unexpected ')': the circuit is complete", ("the end of the text",)),
    ("exp sin", 1, 5, "unexpected 'sin': the circuit is complete", ("the end of the text",)),
    ("id(2)(2)", 1, 6, "unexpected '(': the circuit is complete", ("the end of the text",)),
    ("((", 1, 1, "unexpected '('", ("a circuit",)),
    ("3", 1, 1, "unexpected '3'", ("a circuit",)),
    ("composition(id, 2)", 1, 17, "unexpected '2', in argument 2 of composition", ("a circuit",)),
    ("scalar", 1, 1, "scalar takes 1 argument, scalar(number); it is given 0", ("a number",)),
    ("scalar(", 1, 8, "ends too early, in argument 1 of scalar", ("a number",)),
    ("scalar(x)", 1, 8, "unexpected 'x', in argument 1 of scalar", ("a number",)),
    ("scalar(2.0 3)", 1, 12, "unexpected '3'", ("')'",)),
    ("scalar(2.0, 3)", 1, 13, "it is given 2", ()),
    ("scalar(--1)", 1, 8, "unexpected '-'", ("a number",)),
    ("scalar(1e999)", 1, 8, "'1e999' is more than float64 holds", ()),
    ("scalar(-ınf)", 1, 8, "unexpected '-'", ("a number",)),
    ("scalar(٣)", 1, 8, "unexpected '٣'", ("a number",)),
    ("power(" + "9" * 5000 + ")", 1, 7, "is too large", ()),
    ("exp()", 1, 5, "exp takes no arguments", ()),
    ("exp(8)", 1, 1, "the first argument of compose", ()),
    ("compose(exp(8), sin(3), t)", 1, 17, "the first argument of compose", ()),
    ("compose(exp(-1), sin, t)", 1, 13, "degree must be an integer of at least 0", ()),
    ("compose(exp(8), sin, 3)", 1, 22, "unexpected '3'", ("the name of a dimension",)),
    ("compose(exp(8), sin)", 1, 1, "takes 3 arguments", ("the name of a dimension",)),
    ("register(id(2))", 1, 10, "unexpected 'id' with arguments", ("the name of a dimension",)),
    ("register(3)", 1, 10, "unexpected '3'", ("the name of a dimension",)),
    ("register(ü)", 1, 10, "a dimension is named by an identifier", ()),
    ("stochastic_register(t)", 1, 1, "it is given 1", ("the name of a noise",)),
    ("split(0)", 1, 7, "count must be an integer of at least 1, not 0", ()),
    ("split(1.5)", 1, 7, "unexpected '1.5'", ("a count",)),
    ("split(2, 2)", 1, 10, "split takes 0 or 1 argument, split(count); it is given 2", ()),
    ("trace(swap, 0)", 1, 13, "count must be an integer of at least 1, not 0", ()),
    ("permute(0, 0)", 1, 1, "each of 0 to 1 once", ()),
    ("permute(1, -1)", 1, 12, "index must be an integer of at least 0", ()),
    ("scaler(2.0)", 1, 1, "unknown circuit 'scaler'; did you mean scalar?", ()),
    ("saturation", 1, 1, "unknown circuit 'saturation'; did you mean Saturation?", ()),
    ("qqqqqqq", 1, 1, "own atoms and blocks are given with names=", ()),
    ("Saturation(2)", 1, 12, "Saturation takes no arguments", ()),
    ("id\0", 1, 3, "unexpected '\\x00'", ()),
    ("composition(id,\n\ud800)", 2, 1, "unexpected '\\ud800'", ("a circuit",)),
    ("(" * 100_000, 1, 1, "unexpected '('", ("a circuit",)),
    ("id(" * 100_000, 1, 300_001, "ends too early", ("a count",)),
    ("composition(" * 10_000 + ")", 1, 120_001, "unexpected ')'", ("a circuit",)),
]


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "expected"),
    MALFORMED,
    ids=[ascii(case[0][:30]) for case in MALFORMED],
)
def test_a_malformed_text_is_told_where_and_why(text, line, column, message, expected):
    with pytest.raises(ag.ParseError, match=re.escape(message)) as caught:
        ag.parse(text, names={"Saturation": Saturation(1.0)})
    error = caught.value
    assert (error.line, error.column) == (line, column)
    assert set(expected) <= set(error.expected)
    assert error.text == text
    assert str(error).startswith(f"line {line}, column {column}: ")


def test_the_message_shows_the_place():
    with pytest.raises(ag.ParseError) as caught:
        ag.parse("composition(id,\n\tsplt)")
    assert str(caught.value) == (
        "line 2, column 2: unknown circuit 'splt'; did you mean split?\n   splt)\n   ^"
    )


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("composition(add,\n add)", 2, 2, "add has 1 output, but add takes 2 inputs"),
        ("composition(id, exp, swap)", 1, 22, "composition of 2 and 3"),
        ("monoidal(id, trace(id, 2))", 1, 14, "trace over 2 wires: id has 1 input and 1 output"),
        ("compose(swap, id, t)", 1, 1, "outer must be 0 -> 1, but swap is 2 -> 2"),
    ],
)
def test_degrees_that_do_not_fit_are_told_where(text, line, column, message):
    with pytest.raises(ag.DegreeError, match=re.escape(message)) as caught:
        ag.parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"line {line}, column {column}: ")
    assert str(caught.value).endswith("^")


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        (3, None, "reads a string, not int"),
        (b"id", None, "reads a string, not bytes"),
        ("id", {"Exp": ag.Exp()}, "'Exp' is the keyword exp"),
        ("id", {"a b": ag.Exp()}, "names are identifiers"),
        ("id", {3: ag.Exp()}, "names are identifiers"),
        ("id", {"f": Saturation}, "not the class Saturation"),
        ("id", {"f": jnp.sin}, "stands for a circuit"),
        ("id", [ag.Exp()], "names maps words to circuits"),
    ],
)
def test_wrong_calls_of_parse(text, names, message):
    with pytest.raises(ag.CircuitError, match=re.escape(message)):
        ag.parse(text, names=names)


VALID = [
    "trace(composition(composition(add, split), monoidal(id, register(x))))",
    "composition(monoidal(scalar(2.0), const(-1.5e-3)), add, power(3), sigmoid)",
    "compose(exp(8), scalar(2.0), t)",
    "monoidal(permute(1, 0, 2), var(name), delay(n, 1.0), coordinate(t))",
    "trace(composition(swap, monoidal(stochastic_register(t, W, 0.5), discard, const(1))), 1)",
]
PIECES = ["(", ")", ",", "id", "add", "split", "x", "3", "2.5", "-", "1e999", "\0", "ß", "(1+2j)"]


def _mutated(text: str, chance: random.Random) -> str:
    """The text with one character or token deleted, inserted, replaced or doubled."""
    units = list(text) if chance.random() < 0.5 else re.findall(r"\w+|\s+|.", text)
    place = chance.randrange(len(units))
    other = chance.choice(PIECES) if chance.random() < 0.7 else chance.choice(units)
    kind = chance.choice(["delete", "insert", "replace", "double"])
    new = {"delete": [], "insert": [other, units[place]], "replace": [other]}
    units[place : place + 1] = new.get(kind, [units[place]] * 2)
    return "".join(units)


def test_mutated_texts_are_read_or_told_where_they_are_wrong():
    chance = random.Random(20240229)
    wrong = {}
    for _ in range(1000):
        text = _mutated(chance.choice(VALID), chance)
        for _ in range(chance.randrange(3)):
            text = _mutated(text, chance)
        try:
            ag.parse(text)
        except ag.CircuitError as error:
            wrong[text] = error
    assert len(wrong) >= 300
    for text, error in wrong.items():
        lines = text.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        assert str(error).startswith(f"line {error.line}, column {error.column}: ")
