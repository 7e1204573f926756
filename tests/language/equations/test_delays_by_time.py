"""Delays by a time in equations, against the method of steps."""

import numpy as np
import pytest

import asgard as ag

TS = [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("late", ["x(t - tau)", "delay(x, tau)"])
def test_both_forms_read_the_past(late):
    text = f"diff(x, t) = -{late}"
    circuit = ag.equations(text, initial={"x": 1.0}, parameters={"tau": 1.0})
    assert list(ag.parameters(circuit)) == ["tau", "initial.x"]
    # The history is the initial value, where nothing else is said.
    found = ag.simulate(circuit, TS)["x"]
    np.testing.assert_allclose(found, [1.0, 0.0, -0.5, -1 / 6], atol=1e-14)


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
