"""Equations with events: resets of states, and functions that switch."""

import jax
import numpy as np
import pytest
from helpers import compilations
from wrong import refused

import asgard as ag
from asgard.circuits.graph import canonical

TS = np.linspace(0.0, 2.0, 12)
CALCULUS = ag.Real(method=ag.Dopri8(), rtol=1e-11, atol=1e-11)
G, E = 9.81, 0.8
BALL = """
diff(h, t, 2) = -g
reset(diff(h, t), -h, -e*diff(h, t))
"""
SYSTEM = f"""
{BALL}
diff(v, t) = i - v            # integrate and fire
reset(v, v > 1, 0)
w = w0 + int(i - w, t)        # the same as an integral equation, with a reset of its own
reset(w, w - 1, w0)
diff(m, t) = 1 - 2*relay(m, -1/2, 1/2)
n = counter(clock(1/4)) + 10*pulse(1, 1/4)
s = sample_hold(t, clock(1/4, phase))
fired = counter(v > 1/2)
"""
NUMBERS = {"g": G, "e": E, "i": 2.0, "w0": 0.5, "phase": 0.125}


def height(t):
    """Of a ball that falls from 1."""
    first = np.sqrt(2 / G)
    if t < first:
        return 1 - G * t**2 / 2
    at, speed = first, G * first
    while True:
        speed *= E
        if t < at + 2 * speed / G:
            return speed * (t - at) - G * (t - at) ** 2 / 2
        at += 2 * speed / G


def test_systems_with_events_have_their_closed_forms_in_one_program():
    def run(e):
        system = ag.equations(SYSTEM, parameters={**NUMBERS, "e": e}, initial={"h": 1.0})
        return ag.simulate(system, TS, calculus=CALCULUS)

    found = run(E)
    triangle = np.abs((TS + 0.5) % 2 - 1)  # 1/2 at 0, 0 at 1/2
    expected = {
        "h": [height(t) for t in TS],
        "v": 2 * (1 - np.exp(-(TS % np.log(2)))),
        "w": 2 - 1.5 * np.exp(-(TS % np.log(1.5))),
        "m": 0.5 - triangle,
        "n": 1 + np.floor(TS * 4) + 10 * (TS % 1 < 0.25),
        "s": np.where(TS < 0.125, 0.0, np.floor((TS - 0.125) * 4) / 4 + 0.125),
        "fired": np.floor((TS + np.log(2) - np.log(4 / 3)) / np.log(2)),
    }
    inside = slice(0, -1)  # at 2 the clocks rise
    for name, values in expected.items():
        values = np.asarray(values)
        np.testing.assert_allclose(
            found[name][inside], values[inside], rtol=0, atol=1e-8, err_msg=name
        )
    with compilations() as again:
        run(0.7)
    assert again == []


@pytest.mark.parametrize(
    "text",
    [
        BALL,
        "diff(h, t, 2) = -g; v = diff(h, t); reset(v, h < 0, -e*v)",
        "diff(h, t) = v; diff(v, t) = -g; reset(v, 0 >= h, -e*v)",
        "diff(h, t) = v; v = int(-g, t); reset(v, -h, -e*v)",
        "k = -e; reset(v, -h, k*v); diff(h, t) = v; diff(v, t) = -g",
    ],
)
def test_forms_of_one_ball_are_one_circuit(text):
    moves = ag.Split() >> (ag.Register("t", 1.0) >> ag.Split()) @ ag.Id()
    reads = ag.Id() @ ag.Const(-G) @ ag.Scalar(-1.0) @ ag.Scalar(-E)
    ball = (moves >> reads >> ag.Id() @ ag.Reset("t")).trace()
    found = ag.equations(text, parameters={"g": G, "e": E}, initial={"h": 1.0}, outputs=("h",))
    assert canonical(found) == canonical(ball)


def test_a_stochastic_equation_jumps_to_the_value_whatever_the_noise_was():
    """A Wiener process that starts again from 1/4 above 1."""
    ts, key = np.linspace(0.0, 1.0, 201), jax.random.key(1)

    def path(text):
        system = ag.equations(text, noise=("W",))
        return ag.simulate(system, ts, calculus=ag.Stochastic(steps=1), key=key)["v"]

    expected = [0.0]
    for step in np.diff(path("dv = 3*dW")):
        v = expected[-1] + step
        expected.append(0.25 if v > 1 else v)
    assert 0.25 in expected
    np.testing.assert_allclose(path("dv = 3*dW; reset(v, v > 1, 1/4)"), expected, atol=1e-12)
    drifting = path("dv = dt + 3*dW; reset(v, v > 1, v - v + 1/4)")
    assert np.min(np.abs(drifting - 0.25)) < 1e-12


def test_what_switches_stands_in_sequences_and_subsystems():
    """Under Discrete a reset happens at the sample after its trigger."""
    system = ag.equations(
        """
        system cell(i) -> v { diff(v, t) = i; reset(v, v - 2.5, -1) }
        a = cell(1)
        b = cell(i=2)
        """,
        initial={"cell.v": 0.0},
    )
    found = ag.simulate(system, np.arange(6), calculus=ag.Discrete())
    np.testing.assert_array_equal(found["a_v"], [0, 1, 2, 3, -1, 0])
    np.testing.assert_array_equal(found["b_v"], [0, 2, 4, -1, 1, 3])
    clocked = ag.equations("c = delay(c) + clock(2)")
    found = ag.simulate(clocked, np.arange(5), calculus=ag.Discrete())
    np.testing.assert_array_equal(found["c"], [1, 1, 2, 2, 3])


BOX = "diff(x, t) = v; diff(v, t) = 0\nreset(v, -x, -v)\nreset(v, x - 1, -v)"
DECAY = "diff(x, t) = -x\n"
WRONG = {
    BOX: (3, 7, r"v is reset on line 2 already. Write one for both triggers: reset\(v, maximum"),
    DECAY + "z = 2*x\nreset(z, x - 1, 0)": (
        3,
        7,
        r"z is no state: .* diff\(z, t\) = ..., or reset",
    ),
    DECAY + "reset(2*x, x - 1, 0)": (2, 7, r"diff\(x, t\) = ..., or of its derivative; 2\*x is n"),
    DECAY + "reset(a, x - 1, 0)": (2, 7, "a is neither"),
    DECAY + "reset(diff(x, t), x - 1, 0)": (
        2,
        7,
        "is what its equation says at every time: reset x",
    ),
    "diff(h, t, 2) = -1\nreset(diff(h, t, 2), -h, 0)": (2, 7, "reset a lower derivative of h"),
    "diff(u, t) = diff(u, x, 2)\nreset(u, u - 1, 0)": (2, 7, "u depends on x, too"),
    "x = 1 + int(-x, t)\ny = int(-x, t)\nreset(x, x - 2, 0)": (3, 7, "x is no state"),
    DECAY + "reset(x, 1, 0)": (2, 10, "this trigger is constant"),
    DECAY + "reset(x, x == 1, 0)": (2, 10, "write x > c or x < c, not x == c"),
    DECAY + "reset(x, x - z, 0)": (2, 14, "undefined name z"),
    DECAY + "reset(x, x - 1)": (2, 1, "reset takes 3 arguments; it is given 2"),
    DECAY + "y = reset(x, x - 1, 0)": (2, 5, "reset is a statement of its own"),
    DECAY + "y = relay(x, 1)": (2, 5, "relay takes 3 to 5 arguments; it is given 2"),
    DECAY + "y = relay(x, 1, x)": (2, 17, "relay is made of numbers and parameters"),
    DECAY + "y = counter(1)": (2, 13, "this trigger is constant"),
    DECAY + "y = clock + 1": (2, 5, r"clock needs its arguments: clock\(...\)"),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_events(text):
    line, column, message = WRONG[text]
    refused(text, line, column, message, parameters={"a": 1.0})


def test_a_derivative_of_what_switches_is_0():
    system = ag.equations("diff(y, t) = 1\nz = diff(y*relay(y, 1, 2), t)")
    assert ag.simulate(system, [0.0, 1.5, 2.5])["z"].tolist() == [0.0, 0.0, 1.0]


WIRED = """diff(x, t) = -x
reset(x, 1 - x, 2)
diff(y, t) = relay(x, 1, 1.5) + relay(x, 1, 1.5, -1) + clock(2) + pulse(3, 0.25)
z = counter(x - 1) + sample_hold(y, -x, 2)"""


def test_circuits_with_events_print_as_equations_that_say_them():
    circuit = ag.equations(WIRED, outputs=("z",)).circuit()
    text = ag.to_equations(circuit)
    assert text.startswith("x = int(x1, t)\nreset(x, x1 + 1, 2)\n")
    assert canonical(ag.equations(text, outputs=("z",))) == canonical(circuit)


def test_resets_in_latex():
    latex = ag.to_latex("diff(v, t) = i\nreset(v, v - 30, -65)\nreset(w, -h, -w)")
    assert latex.split("\n")[2:4] == [
        r"v &\leftarrow -65 \quad \text{where } v > 30 \\",
        r"w &\leftarrow -w \quad \text{where } h < 0",
    ]
