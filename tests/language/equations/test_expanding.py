"""Functions, sub-systems, initial values and outputs: the errors of wrong ones."""

import numpy as np
import pytest
from wrong import refused

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

HALF = "system half(u) -> y { y = u/2 }\n"
TWO = "system two(u) -> y, z { y = u; z = 2*u }\n"

WRONG = {
    "y = sin(1, 2)": (1, 5, "sin takes 1 argument; it is given 2"),
    "y = if(1, 2)": (1, 5, "if takes 3 arguments; it is given 2"),
    "diff(y, t, t) = 1": (1, 12, "the order of a derivative is a number"),
    "g(v) = v\ny = g(1, 2)": (2, 5, r"g takes 1 argument \(v\); it is given 2"),
    "g(v) = v\ny = g + 1": (2, 5, "g is a function: give it its arguments"),
    "g(v) = g(v - 1)\ny = g(2)": (2, 5, "a function may not call itself"),
    "y = apply(abstraction v. v(v), abstraction v. v(v))": (1, 5, "may not call itself"),
    "y = apply(2, 3)": (1, 5, "what is applied here is no function"),
    "y = sin(v=2)": (1, 9, "v=... is for inputs of sub-systems"),
    HALF + "y = half()": (2, 5, "half needs its input u"),
    HALF + "y = half(1, 2)": (2, 13, "half has the inputs u: there is no such input"),
    HALF + "y = half(1, u=2)": (2, 13, "u is given twice"),
    HALF + "y = half(v=1)": (2, 10, "there is no such input"),
    HALF + "p = half(1)\ny = p.w": (3, 5, "p has no wire w; it has y"),
    HALF + "p = half(1)\ny = p.u": (3, 5, "p has no wire u; it has y"),
    HALF + "p = half(1)\np = cos(2)": (3, 1, "too many equations"),
    "g(f, s) = diff(f, s)\nu = g(2, t)": (1, 19, "diff is along a dimension, which is a name"),
    "system f(t) -> y { y = t }\ndiff(x, t) = f(1)": (1, 8, "t is a wire of f and a dimension"),
    TWO + "y = two(1) + 1": (2, 5, "two has several outputs: give it a name"),
    TWO + "p = two(1)\ny = p": (3, 5, r"take p.y or p.z"),
    "system a(u) -> y { y = a(u) }\nz = a(1)": (1, 24, "a holds itself"),
    "system a(u) -> y, v { y = u }\nz = a(1)": (1, 8, r"nothing in the sub-system determines z.v"),
    "system a(u) -> y { g(v) = v; y = g(u) }\nz = a(1)": (1, 20, "defined outside of sub-systems"),
    HALF + "half(2)": (2, 1, "an equation has two sides"),
    "p_y = 1\n" + HALF + "p = half(1)": (2, 8, "two wires would be named p_y"),
    "dx*dx = dt": (1, 1, "dx cannot be isolated: each term has one differential"),
    "dx = x*dt + x": (1, 1, "dx cannot be isolated"),
    "dx + dy = dt\ny = 1": (1, 1, "this one has dx and dy"),
    "y = 1 + sde(1, 1, y)": (1, 9, "sde is a statement of its own"),
    "sde(1, 1, 2*x)": (1, 11, "is about an unknown x"),
    "sde(1, 1, x, V)": (1, 14, "the last of four is a noise"),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_uses(text):
    line, column, message = WRONG[text]
    refused(text, line, column, message)


def test_subsystems_have_names_of_their_own():
    """u is an input of the whole, and an unknown of the sub-system."""
    text = "system f(v) -> u { u = 2*v }\ny = f(u)"
    assert ag.equations(text, inputs=("u",)).n_in == 1


def test_a_noise_has_to_be_chosen_among_several():
    refused("sde(1, 1, x)", 1, 1, r"which noise\? Write sde\(", noise=("V", "W"))


INITIAL = {
    "y": (1, "the equations have no unknown y"),
    "diff(x, t)": (1, "its equation says what it is at every time"),
    "a.x": (1, "a is no sub-system"),
    "x + 1": (1, "its equation says"),
}


@pytest.mark.parametrize("key", INITIAL)
def test_initial_values_of_what_has_none(key):
    column, message = INITIAL[key]
    refused("diff(x, t) = -x", 1, column, "initial: .*" + message, initial={key: 1.0})


def test_an_initial_value_of_what_follows_names_the_unknowns_that_have_a_guess():
    text = "h = exp(-p)\nh = cos(h)"
    message = "has no initial value: .*, and may have a guess, is h$"
    refused(text, 1, 1, message.replace("$", "\n"), initial={"p": 3.0})
    assert ag.equations(text, initial={"h": 0.7}).n_out == 2


def test_a_function_is_no_initial_value_and_a_history_may_be_a_polynomial():
    text, start = "diff(x, t) = -x(t - 1)", {"x": 1.0}
    with pytest.raises(ag.CircuitError, match=r'a function, .* as text, "1 \+ 2\*t"'):
        ag.equations(text, initial=start | {"x(t - 1)": abs})
    refused(text, 1, 1, "a delay's history one in time", initial=start | {"x(t - 1)": "cos(t)"})
    found = ag.simulate(ag.equations(text, initial=start | {"x(t - 1)": "1 + 2*t"}), [0.0, 1.0])
    np.testing.assert_allclose(found["x"], [1.0, 1.0], rtol=1e-14)  # x' = 1 - 2 t


def test_initial_values_that_are_no_polynomial():
    said = {"u": "sin(x)"}
    refused("diff(u, t) = diff(u, x)", 1, 1, "give other functions of them as", initial=said)
    refused("diff(u, t) = diff(u, x)", 1, 1, "depends on t", initial={"u": "1 + t"})
    refused("diff(u, t) = -u", 1, 1, "made of parameters and numbers", initial={"u": "2*u"})
    with pytest.raises(ag.ParseError, match="column 4: initial: the text ends"):
        ag.equations("diff(u, t) = -u", initial={"u": "sin"[:1] + "(2"})


def test_outputs_are_of_the_equations():
    refused("diff(x, t) = -x", 1, 5, "outputs: .*no unknown z", outputs=("x + z",))
