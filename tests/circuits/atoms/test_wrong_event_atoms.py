"""Atoms with events, delays and events of runs, called wrongly in 300 ways and more: each is an
error of ours, before anything compiles."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

NO_NUMBERS = (
    "one",
    b"1",
    None,
    object(),
    {"a": 1.0},
    {1.0},
    b"",
    ["1", "2"],
    [1.0, "b"],
    [[1.0], [1.0, 2.0]],
    lambda: 1.0,
    ag.Id(),
    np.array("1"),
    np.array(["a"], dtype=object),
)
NOT_REAL = (1j, jnp.array([1.0, 1j]), np.array(2 - 1j))
NOT_ABOVE_ZERO = (0.0, -1.0, float("inf"), float("nan"), jnp.array([1.0, 0.0]))
NO_NAMES = (1, None, "", "a b", "1x", b"t", ("t",), 1.0, object(), 2j, ["t"], True)
ATOMS = {
    ag.Reset: {"dim": "t", "initial": 0.0},
    ag.SampleHold: {"initial": 0.0, "dim": "t"},
    ag.Counter: {"initial": 0.0, "dim": "t"},
    ag.Relay: {"low": -1.0, "high": 1.0, "off": 0.0, "on": 1.0, "dim": "t"},
    ag.Pulse: {"period": 1.0, "duty": 0.5, "phase": 0.0, "dim": "t"},
    ag.Clock: {"period": 1.0, "phase": 0.0, "dim": "t"},
}


def wrong_calls():
    """Each atom with one argument wrong."""
    for atom, good in ATOMS.items():
        for name in good:
            if name == "dim":
                wrong = NO_NAMES
            elif name == "period":
                wrong = (*NO_NUMBERS, *NOT_REAL, *NOT_ABOVE_ZERO)
            elif name == "duty":
                wrong = (*NO_NUMBERS, *NOT_REAL, -0.1, 1.1, float("nan"))
            elif name == "initial":
                wrong = NO_NUMBERS
            else:
                wrong = (*NO_NUMBERS, *NOT_REAL)
            yield from ((atom, {**good, name: value}) for value in wrong)
    pairs = itertools.permutations((-1.0, 0.0, 2.0, float("inf")), 2)
    yield from (
        (ag.Relay, {**ATOMS[ag.Relay], "low": low, "high": high})
        for low, high in pairs
        if low > high
    )


def wrong_events():
    good = {"watched": "x", "direction": 0, "terminal": False, "name": "x"}
    wrong = {
        "watched": (1, None, 1.0, b"x", ("x",), object(), {"x": 1}, jnp.zeros(2)),
        "direction": (2, -2, 0.5, "up", None, True, (1,), [1], jnp.array([1, 0]), {}, object()),
        "terminal": (1, 0, "yes", None, (), jnp.array(True), np.array([1, 0])),
        "name": (1, b"x", ("x",), 1.0, object(), True, jnp.zeros(2)),
    }
    for name, values in wrong.items():
        yield from (({**good, name: value}) for value in values)


def test_wrong_calls_of_atoms_with_events_are_errors_of_ours():
    calls = list(wrong_calls())
    found = [_raises(atom, arguments) for atom, arguments in calls]
    wrong = [call for call, error in zip(calls, found, strict=True) if error is not None]
    assert not wrong, "\n".join(
        f"{call}: {error!r}" for call, error in zip(calls, found, strict=True) if error
    )
    assert len(calls) + len(list(wrong_events())) >= 300


def test_wrong_events_are_errors_of_ours():
    found = {str(one): _raises(ag.Event, one) for one in wrong_events()}
    assert not {call: error for call, error in found.items() if error is not None}


def _raises(kind, arguments):
    """None where a call is refused as it should; else what happened."""
    try:
        return kind(**arguments)
    except ag.CircuitError as error:
        return None if str(error) else error
    except Exception as error:
        return error
