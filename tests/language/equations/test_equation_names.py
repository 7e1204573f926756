"""What names stand for, and the errors of those that stand for nothing or for two things."""

import numpy as np
import pytest
from wrong import refused

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")


def graph_text(text, **said):
    return str(ag.equations(text, **said).circuit())


def test_what_a_name_is_follows_from_its_use():
    text = graph_text("diff(x, s) = s*x")
    assert "coordinate(s)" in text
    assert "register(s)" in text
    assert "stochastic_register(t, B)" in graph_text("dx = x*dB + x*dt")
    assert "stochastic_register(t, B)" in graph_text("dx = x*dB")
    text = graph_text("dx = x*dt + dW\ndy = y*dV", initial={"y": 1.0})
    assert "stochastic_register(t, V, 1.0)" in text
    assert "stochastic_register(s, B)" in graph_text("diff(y, s) = 1\ndx = dB", noise=("B",))
    assert "delay(n)" in graph_text("x = delay(x) + 1")
    assert "delay(k)" in graph_text("x = delay(x) + y\ndiff(y, k) = 1")
    assert "const(3.14159" in graph_text("diff(x, t) = pi")


def test_a_parameter_or_input_may_be_named_like_a_differential():
    assert graph_text("diff(x, t) = dt*x", parameters={"dt": 2.0}).count("scalar(2.0)") == 1
    assert ag.equations("diff(x, t) = dx*x", inputs=("dx",)).n_in == 1
    assert graph_text("diff(x, t) = $pi", parameters={"pi": 2.0}).count("const(2.0)") == 1


UNDEFINED = {
    "diff(x, t) = -a*x": (1, 15, "undefined name a: give it in parameters"),
    "diff(x, t) = -x\ny = x + foo": (2, 9, "undefined name foo"),
    "y = $a": (1, 5, r"\$a has no value: parameters=\{'a'"),
    "y = sn(t)": (1, 5, r"unknown function sn; did you mean sin\?"),
    "y = ln(2)": (1, 5, r"unknown function ln; did you mean log\?"),
    "y = log10(2)": (1, 5, r"did you mean log\(x\)/log\(10\)\?"),
    "y = Pi": (1, 5, r"undefined name Pi: did you mean pi\?"),
    "y = math.pi": (1, 5, "pi has no module before it"),
    "x_dot = -x": (1, 10, r"x_dot is an unknown of its own: the derivative of x is diff\(x, t\)"),
    "d2x/dt2 = -x": (1, 5, r"a second derivative is diff\(x, t, 2\)"),
    "dt = 2\ndiff(x, t) = dt": (1, 1, "dt is a differential, and there is none of an unknown"),
    "der(x) = -x": (1, 1, r"and no unknown: .* and diff\(x, t\) a derivative"),
    "y = a*sin(t)": (1, 5, "undefined name a"),
    "diff(x, t) = -x\nx(0) = 1": (2, 1, r'initial=\{"x": ...\} says what an unknown is at first'),
    "x = x(n - 1) + 1": (1, 5, r"n no dimension: x one sample before is delay\(x\)"),
    "diff(x, t) = e^x": (1, 14, r"e\^x is exp\(x\)"),
    "g(x) = x": (1, 1, "the text defines functions, and no unknown"),
    "dx/dt = -x": (1, 1, r"derivative dx/dt is diff\(x, t\)"),
    "y = foo(2)": (1, 5, r"unknown function foo; a function is defined by an equation"),
    "y = x(2)\nx = 2": (1, 5, "unknown function x"),
    "x = int(1, t) + b*dW": (1, 19, "undefined name dW: differentials are those of an equation"),
    "y = sin": (1, 5, r"sin needs its arguments"),
    "y = p.level": (1, 5, "p is no sub-system"),
}


@pytest.mark.parametrize("text", UNDEFINED)
def test_undefined_names(text):
    line, column, message = UNDEFINED[text]
    refused(text, line, column, message, parameters={"b": 1.0} if "b" in text else {})


def test_a_name_that_is_nearly_a_known_one():
    message = r"undefined name grvity: did you mean gravity\? Else give it in parameters"
    refused("diff(x, t) = -grvity", 1, 15, message, parameters={"gravity": 9.81})


def test_t_is_the_time_where_no_equation_is_left_for_it():
    wave = ag.equations("h(v) = v^2\ny = a*sin(t) + h(t)", parameters={"a": 2.0})
    ts = np.array([0.0, 0.5, 2.0])
    np.testing.assert_allclose(ag.simulate(wave, ts)["y"], 2 * np.sin(ts) + ts**2, rtol=1e-14)
    found = ag.simulate(ag.equations("x + t = 3\nx - t = 1"), [0.0])
    assert (found["x"], found["t"]) == (2.0, 1.0)


AMBIGUOUS = {
    "x = int(1, t) + int(1, W)": (1, 24, r"W may be a noise or a dimension: say noise=\('W',\)"),
    "diff(x, y) = 1\ny = 2": (2, 1, "y is a dimension, so no equation determines it"),
    "g(x) = x\ng = 2": (2, 1, "g is a function, so no equation determines it"),
    "g(x) = x\ng(y) = 2*y": (2, 1, "g is defined twice"),
    "sin(x) = 2*y\ndiff(sin, t) = 1": (2, 6, "sin needs its arguments"),
    "diff(u, s) = 1\ndiff(v, r) = 1\nw = delay(w)": (3, 5, "not clear which of them is time"),
    "0 = diff(u, x) - diff(u, y)": (1, 10, "u is differentiated along x and y: write the deriv"),
    "y = diff(x, 2)": (1, 13, "diff is along a dimension, which is a name"),
    "y = apply(abstraction s. int(s, s), 1)": (1, 33, "int is along a dimension"),
}


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_ambiguous_names(text):
    line, column, message = AMBIGUOUS[text]
    refused(text, line, column, message)


def test_names_that_are_said_and_used_as_something_else():
    refused("diff(x, t) = 1", 1, 9, "t is a parameter and a dimension", parameters={"t": 1.0})
    refused("x = u", 1, 5, "u is a parameter and an input", parameters={"u": 1.0}, inputs=("u",))
    refused("a = 2", 1, 1, "a is a parameter, so no equation", parameters={"a": 1.0})
    refused("x = W + int(1, W)", 1, 5, r"W is a noise, so write dW or int\(", noise=("W",))
    refused("sin = u", 1, 1, "sin needs its arguments", inputs=("u",))
    refused("y = 2*log", 1, 7, "log is a function and a parameter", parameters={"log": 1.0})


ARGUMENTS = [
    ({"parameters": 3}, "parameters maps names to numbers"),
    ({"parameters": {"a b": 1.0}}, "a parameter is named by an identifier, not"),
    ({"parameters": {"ω": 1.0}}, "a parameter is named by an identifier of letters from A to Z"),
    ({"parameters": {"a": None}}, "parameters: a is None, which is no number"),
    ({"parameters": {"a": "2"}}, "parameters: a is the text '2', which is no number"),
    ({"initial": {"x": object()}}, "initial: x holds"),
    ({"inputs": "u"}, "inputs are names"),
    ({"inputs": ("u", "u")}, "inputs: u stands there twice"),
    ({"noise": ("1",)}, "a noise is named by an identifier"),
    ({"outputs": "x"}, "outputs are names"),
    ({"initial": {"x": 1.0, "(x)": 1.0}}, r"'x' and '\(x\)' are the same"),
]


@pytest.mark.parametrize(("said", "message"), ARGUMENTS)
def test_wrong_arguments(said, message):
    with pytest.raises(ag.CircuitError, match=message):
        ag.equations("diff(x, t) = -x", **said)


def test_a_text_is_a_string():
    with pytest.raises(ag.CircuitError, match="equations are a string, not int"):
        ag.equations(3)


def test_a_stream_is_no_factor():
    stream = ag.Stream([1.0], "x")
    with pytest.raises(ag.CircuitError, match="k is a Stream, which stands only for an initial"):
        ag.equations("diff(u, t) = k*diff(u, x)", parameters={"k": stream})
