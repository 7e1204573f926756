"""Delays by a time in equations, against the method of steps."""

import re
from typing import Any

import jax
import numpy as np
import pytest

import asgard as ag
from asgard.circuits.graph import canonical, flatten

TS = [0.0, 1.0, 2.0, 3.0]


def test_both_forms_read_the_past():
    said, called = (
        ag.equations(f"diff(x, t) = -{late}", initial={"x": 1.0}, parameters={"tau": 1.0})
        for late in ("x(t - tau)", "delay(x, tau)")
    )
    assert ag.parameters(said) == ag.parameters(called) == {"tau": 1.0, "initial.x": 1.0}
    assert canonical(flatten(said)) == canonical(flatten(called))
    # The history is the initial value, where nothing else is said.
    found = ag.simulate(said, TS)["x"]
    np.testing.assert_allclose(found, [1.0, 0.0, -0.5, -1 / 6], atol=1e-14)


def test_the_past_of_a_sub_system_of_one_output_is_read_by_its_name():
    def said(late):
        text = f"system lag(u) -> y {{ diff(y, t) = u - y }}\na = lag(1)\nb = lag({late})"
        return canonical(flatten(ag.equations(text)))

    assert said("a(t - 0.5)") == said("delay(a, 0.5)") != said("a")


def test_a_history_of_its_own():
    initial = {"x": 1.0, "x(t - tau)": 2.0}
    circuit = ag.equations("diff(x, t) = -x(t - tau)", initial=initial, parameters={"tau": 1.0})
    found = ag.simulate(circuit, TS)["x"]
    np.testing.assert_allclose(found, [1.0, -1.0, -1.0, 1 / 6], atol=1e-14)


ERRORS = {
    "-x(t - x)": "made of numbers and parameters alone",
    "-x(t + 1)": r"x is known at t and before: x\(t - tau\)",
    "-x(t - 0)": "by must be above 0 and finite, not 0.0",
}


@pytest.mark.parametrize("right", ERRORS)
def test_errors(right):
    with pytest.raises(ag.CircuitError, match=ERRORS[right]):
        ag.simulate(ag.equations(f"diff(x, t) = {right}", initial={"x": 1.0}), TS)


def delays(text, **said):
    """The delays of equations: their histories and what they are by."""
    found = []
    for node in flatten(ag.equations(text, **said)).nodes:
        atom: Any = node.atom
        if isinstance(node.atom, ag.Delay) and atom.by is not None:
            found.append((float(atom.initial), float(atom.by)))
    return found


X: dict[str, Any] = {"x": 2.0}
KNOWN: dict[str, tuple[dict[str, Any], float]] = {
    "dx = -x(t - 1)*dt + s*dW": ({"initial": X}, 2.0),
    "sde(-x(t - 1), s*x, x)\nreset(x, x - 3, 1)": ({"initial": X}, 2.0),
    "dx = s*x*dW + x(t - 1)*dV": ({"initial": X, "noise": ("W", "V")}, 2.0),
    "x = 2 + int(-x(t - 1), t)": ({}, 2.0),
    "x = s^2 + 1 + 3*int(-x(t - 1), t)": ({}, 1.25),
    "x = 2 + int(x(t - 1), t) + int(s, W)": ({"noise": ("W",)}, 2.0),
    "diff(x, t) = -z(t - 1)\nz = y\ny = 3*x + s": ({"initial": X}, 6.5),
    "diff(x, t) = -delay(x*x, 1)": ({"initial": X}, 4.0),
    "diff(x, t) = -delay(if(x > 1, 3*x, x), 1)": ({"initial": X}, 6.0),
    "diff(x, t) = -x + z(t - 1)\nz = diff(x, t)": ({"initial": X | {"z(t - 1)": 5.0}}, 5.0),
    "diff(x, t, 2) = -delay(diff(x, t), 1)": ({"initial": X | {"diff(x, t)": 1.5}}, 1.5),
    "diff(x, t) = -z(t - 1)\nz = 1 + int(x, t)": ({"initial": X}, 1.0),
    "diff(x, t) = -delay(k, 1)\nk = 2*s": ({"initial": X}, 1.0),
    "late(v) = delay(v, 1)\ndiff(x, t) = -late(2*x)": ({"initial": X}, 4.0),
    "diff(x, t) = -x(t - 1)": ({}, 0.0),
    "f = delay(f, 1) + 1": ({"initial": {"f(n - 1)": 3.0}}, 3.0),
}


@pytest.mark.parametrize("text", KNOWN)
def test_the_history_is_the_value_at_the_start(text):
    said, history = KNOWN[text]
    assert delays(text, parameters={"s": 0.5}, **said) == [(history, 1.0)]


def test_the_history_of_a_delay_is_that_of_its_body():
    text = "diff(x, t) = -delay(x(t - 1), 2)"
    assert delays(text, initial=X) == [(2.0, 1.0), (2.0, 2.0)]
    assert delays(text, initial=X | {"x(t - 1)": 5.0}) == [(5.0, 1.0), (5.0, 2.0)]


UNKNOWN = {
    "diff(x, t) = -u(t - 1)": ("the input u", "u(t - 1)"),
    "diff(x, t) = -delay(u*x, 1)": ("the input u", "delay(u*x, 1)"),
    "diff(x, t) = -z(t - 1)\nz = cos(z*x)": ("depends on itself", "z(t - 1)"),
    "diff(x, t) = -delay(t*x, 1)": ("depends on t", "delay(t*x, 1)"),
    "diff(x, t) = -delay(relay(x, 0, 1), 1)": ("switches", "delay(relay(x, 0, 1), 1)"),
    "diff(x, t) = -f(z)\nz = t*x\nf(v) = delay(v, 1)": ("depends on t", "delay(z, 1)"),
    "f = delay(f, 3) + x\ndiff(x, t) = -x": ("depends on itself", "delay(f, 3)"),
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_histories_that_nothing_says_are_asked_for(text):
    why, key = UNKNOWN[text]
    said: dict[str, Any] = {"inputs": ("u",)} if "u" in text else {}
    with pytest.raises(ag.EquationError) as caught:
        ag.equations(text, initial=X, **said)
    message = str(caught.value)
    assert why in message
    assert f'initial={{"{key}": ...}}' in message
    line, column = caught.value.line or 0, caught.value.column or 0
    assert re.match(r"delay\(|[uz]\(t", text.split("\n")[line - 1][column - 1 :])
    # The key that the message names works.
    assert 7.0 in dict(delays(text, initial=X | {key: 7.0}, **said))


def test_a_history_follows_no_function():
    initial = X | {"x(t - 1)": ag.Stream([1.0, 2.0], ("t",))}
    with pytest.raises(ag.EquationError, match="initial value that is a function"):
        ag.equations("diff(x, t) = -delay(x(t - 1), 1)", initial=initial)


def test_an_unnamed_expression_in_a_function_is_given_a_name():
    with pytest.raises(ag.EquationError, match=r"z = \.\.\., and give .*delay\(z, \.\.\.\)"):
        ag.equations("f(v) = delay(v, 1)\ndiff(x, t) = -f(t*x)")


def test_histories_follow_parameters_in_values_and_derivatives():
    def last(a):
        text = "x = a^2 + int(-x(t - 1), t)"
        return ag.simulate(ag.equations(text, parameters={"a": a}), [0.0, 1.0, 2.0])["x"][-1]

    # x(2) = -a^2/2.
    value, slope = jax.jit(lambda a: jax.jvp(last, (a,), (1.0,)))(2.0)
    np.testing.assert_allclose([value, slope], [-2.0, -2.0], atol=1e-12)


def test_paths_begin_with_the_initial_value():
    text = "dx = -x(t - 1)*dt + s*dW"
    circuit = ag.equations(text, initial=X, parameters={"s": 0.0})
    calculus = ag.Stochastic(dt=0.5)
    paths = ag.simulate(circuit, [0.0, 0.5, 1.0], calculus=calculus, key=jax.random.key(0))
    np.testing.assert_allclose(paths["x"], [2.0, 1.0, 0.0], atol=1e-14)


WRITTEN = {
    "diff(x, t) = -x(t - 1)": "x = 2 + int(-x(t - 1), t)\nx1 = 2*x",
    "dx = -x(t - 1)*dt + x*dW": (
        "x1 = 2 + int(-x(t - 1), t)\nx2 = int(x, W)\nx = x1 + x2\nx3 = 2*x"
    ),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_circuits_with_delays_print_as_equations_that_say_them(text):
    circuit = ag.equations(text, initial=X) >> ag.Scalar(2.0)
    written = ag.to_equations(circuit, values=True)
    assert written == WRITTEN[text]
    noise = ("W",) if "W" in text else ()
    again = ag.equations(written, outputs=(written.split("\n")[-1].split(" = ")[0],), noise=noise)
    assert canonical(again) == canonical(circuit)


NOT_WRITTEN = {
    "diff(x, t) = -x(t - 1)": {"initial": X | {"x(t - 1)": 3.0}},
    "diff(x, t) = -z(t - 1)\nz = x + z(t - 2)/2": {"initial": X | {"z(t - 1)": 2, "z(t - 2)": 0}},
    "diff(x, t) = -delay(x - x^2, 1)": {"initial": X},
}


@pytest.mark.parametrize("text", NOT_WRITTEN)
def test_histories_of_their_own_are_not_written(text):
    circuit = ag.equations(text, outputs=("x",), **NOT_WRITTEN[text]) >> ag.Scalar(2.0)
    with pytest.raises(ag.CircuitError, match=r"no equation for delay.* its history is not"):
        ag.to_equations(circuit, values=True)
