"""What a calculus from outside of the package does wrong, and the errors that it gets."""

from typing import Any

import jax.numpy as jnp
import pytest

import asgard as ag
from asgard.calculi.calculus import check_types
from asgard.calculi.cut import Cut
from asgard.calculi.pointwise import Pointwise
from asgard.taylor.network import register

pytestmark = pytest.mark.usefixtures("unchecked")

CIRCUIT = (ag.Register("t", 1.0) >> ag.Split()).trace()


def run(simulate, circuit=CIRCUIT):
    """The circuit under a calculus with this method."""
    calculus = type("Mine", (ag.Calculus,), {"simulate": simulate})()
    return ag.simulate(circuit, [0.0, 1.0], calculus=calculus)


def trajectory(ts, **change: Any):
    fields: dict[str, Any] = {"state": None}
    fields |= {"ts": ts, "outputs": (ts,), "names": {}, "status": ag.Status.ok, "stats": {}}
    fields |= change
    return ag.Trajectory(**fields)


RETURNED = [
    (lambda ts: ts, "must return a Trajectory, not"),
    (lambda ts: trajectory(ts, outputs=ts), "outputs must be a tuple of 1, one array for each"),
    (lambda ts: trajectory(ts, outputs=()), "outputs must be a tuple of 1, one array for each"),
    (lambda ts: trajectory(ts, outputs=(jnp.ones(7),)), r"output 0 must have a row .* is \(7,\)"),
    (lambda ts: trajectory(ts, names={"x": 1.0}), r"x must have a row for each of the 2 times"),
    (lambda ts: trajectory(ts, status="ok"), "status must be a Status, such as ag.Status.ok, not"),
    (lambda ts: trajectory(ts, status=None), "status must be a Status, such as ag.Status.ok, not"),
    (lambda ts: trajectory(ts, names=None), "names must be a dictionary by name, .* not None"),
    (lambda ts: trajectory(ts, stats=None), "stats must be a dictionary by name, .* not None"),
    (lambda ts: trajectory(ts) if ts[0] < 1 else None, "cannot be traced: write it with jax.numpy"),
]


@pytest.mark.parametrize(("returns", "message"), RETURNED)
def test_what_is_no_trajectory_of_the_circuit_is_refused(returns, message):
    with pytest.raises(ag.CircuitError, match=r"^Mine\.simulate.*" + message):
        run(lambda self, circuit, ts, inputs, dim, state: returns(ts))


def pointwise(circuit, ts, inputs, dim, **change: Any):
    names = {"calculus": "Mine", "meanings": {ag.Register: register}}
    options: dict[str, Any] = names | {"fixed_point": ag.FixedPoint()} | change
    return Pointwise(Cut.of(circuit, ts[0], inputs, dim, **options), ts.dtype)


OPTIONS = [
    ({"fixed_point": "newton"}, "Mine: fixed_point must be a FixedPoint, not 'newton'"),
    ({"meanings": {}}, "has no meaning under Mine, whose table has no entry for Register"),
    (
        {"meanings": {ag.Register: 3}},
        "Mine: the meaning of Register must be a function of its node",
    ),
    ({"meanings": {"Register": register}}, "Mine: meanings must be a dictionary from classes"),
    ({"meanings": [register]}, "Mine: meanings must be a dictionary from classes"),
    ({"meanings": {ag.Register: lambda: 0}}, "Register is called with a node of the graph"),
    (
        {"meanings": {ag.Register: lambda node: None}},
        r"register\(t, 1.0\): its meaning must return a piece of the net.* not None",
    ),
]


@pytest.mark.parametrize(("change", "message"), OPTIONS)
def test_wrong_options_of_a_cut_are_refused(change, message):
    with pytest.raises(ag.CircuitError, match=message):
        run(
            lambda self, circuit, ts, inputs, dim, state: pointwise(
                *(circuit, ts, inputs, dim), **change
            )
        )


CONTENTS = [
    (lambda p: ((), p.start()), r"Mine: contents must be .* shapes \[\(\)\], for register"),
    (lambda p: (p.begin()[0], p.start()), "for register.*, as begin.. gives, not [A-Z]"),
    (lambda p: ((jnp.ones(3),), p.start()), r"as begin\(\) gives, not shapes \[\(3,\)\]"),
    (lambda p: (p.begin(), (1.0,)), r"Mine: guesses must be 0 arrays in a tuple, as start\(\)"),
]


@pytest.mark.parametrize(("given", "message"), CONTENTS)
def test_contents_and_guesses_that_are_not_those_of_the_circuit_are_refused(given, message):
    def simulate(self, circuit, ts, inputs, dim, state):
        found = pointwise(circuit, ts, inputs, dim)
        return found.feeds(ts[0], *given(found))

    with pytest.raises(ag.CircuitError, match=message):
        run(simulate)


def test_a_state_of_other_types_is_refused():
    like = (jnp.ones(3),)
    check_types(like, like)
    wrong = (3.0, (), (jnp.ones(2),), (jnp.ones(3, jnp.float32),), [jnp.ones(3)], (1.0,), ("a",))
    for one in (*wrong, jnp.ones(3)):
        with pytest.raises(ag.CircuitError, match="state must be the state of an earlier run"):
            check_types(one, like)


def test_a_method_of_other_arguments_and_a_field_of_text_are_named():
    with pytest.raises(
        ag.CircuitError, match=r"^Mine\.simulate is called with circuit, ts, inputs"
    ):
        run(lambda self, circuit, ts: None)
    with pytest.raises(ag.CircuitError, match=r"^Texted\.mode holds 'a', .*static=True"):
        ag.simulate(CIRCUIT, [0.0, 1.0], calculus=Texted("a"))


class Texted(ag.Calculus):
    """Has a field that should be static."""

    mode: Any

    def simulate(self, circuit, ts, inputs, dim, state):
        return trajectory(ts)
