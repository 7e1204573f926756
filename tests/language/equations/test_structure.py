"""Equations too many and too few, what cannot be isolated, and an index above 1."""

import pytest
from wrong import refused

pytestmark = pytest.mark.usefixtures("unchecked")

WRONG = {
    # Too many.
    "diff(x, t) = -x\ndiff(x, t) = x": (
        *(2, 1),
        r"too many equations: 'diff\(x, t\) = x' and line 1 are 2 equations for 1 unknown \(x\)",
    ),
    "x = 1\ny = x + 2\nz = 3\nx = y": (4, 1, "'x = y' and lines 1 and 2 are 3 equations for 2"),
    "x*y = 1\nx + y = 2\nx - y = 3": (3, 1, r"and lines 1 and 2 are 3 equations for 2 unknowns"),
    "x = 1\n2 = 3": (2, 1, "has no unknown that it could determine"),
    # Too few.
    "x + y = 1": (1, 5, "too few equations: nothing determines y. Add 1 equation;"),
    "x*y*z = 1": (1, 3, "nothing determines y and z. Add 2 equations"),
    "diff(x, t) = -x\n0*y = 1": (2, 3, "y drops out of the equations"),
    # Not to be isolated.
    "int(x, t) = sin(t)": (1, 1, r"x cannot be isolated from 'int\(x, t\) = sin\(t\)'"),
    "delay(x) = 3": (1, 1, "x cannot be isolated .* only in an integral, a delay"),
    "(x < 2) = 1": (1, 2, "x cannot be isolated"),
    "x*y = x*y + 1\ny = 2": (1, 1, "has no unknown|cancel"),
    "u = diff(u, x, 2)*0 + 1\ndiff(v, t) = diff(v, x) - w\n1 = diff(w, x)": (3, 1, "w cannot be"),
    # The index.
    "diff(x, t) = z\nx = sin(t)": (
        2,
        1,
        r"index 2: .* differentiate 'x = sin\(t\)' \(line 2\) 1 t",
    ),
    "diff(x, t, 2) = -f*x\ndiff(y, t, 2) = -f*y - 9.81\nx^2 + y^2 = 1": (
        *(3, 1),
        r"index 3: .* differentiate 'x\^2 \+ y\^2 = 1' \(line 3\) 2 times",
    ),
    "x - y = t\ndiff(x, t) + diff(y, t) = 1": (1, 1, "the equations tie states: .* 'x - y = t'"),
    "x = y\ny = x": (1, 1, "x and y are equal to one another"),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_systems(text):
    line, column, message = WRONG[text]
    refused(text, line, column, message)
