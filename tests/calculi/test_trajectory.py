"""What a failed trajectory says, whatever its calculus has counted."""

import jax.numpy as jnp
import pytest

import asgard as ag

SOLVES = {"iterations": jnp.int32(20), "residual": jnp.array(1.0), "loop": jnp.int32(0)}
STEPS = {"steps": jnp.int32(3), "reached": jnp.array(0.5), "wire": jnp.int32(0)}
NAMED = {"loops": ("the loop through add",), "wires": ("x",)}

SAID = [
    (
        ag.Status.not_converged,
        SOLVES,
        NAMED,
        "not_converged, the loop through add misses its fixed",
    ),
    (
        ag.Status.not_converged,
        SOLVES,
        {},
        "not_converged, a loop misses its fixed point by 1 after",
    ),
    (
        ag.Status.not_converged,
        SOLVES | {"residual": jnp.array(jnp.inf), "iterations": jnp.int32(1)},
        NAMED,
        "not_converged, the loop through add is not finite at its guess, which",
    ),
    (ag.Status.not_converged, {}, {}, "not_converged: no fixed point of a loop"),
    (ag.Status.nonfinite, STEPS, NAMED, "nonfinite at t = 0.5, after 3 steps, in x: a value"),
    (ag.Status.nonfinite, STEPS, {}, "nonfinite at t = 0.5, after 3 steps: a value"),
    (ag.Status.nonfinite, {}, NAMED, "nonfinite: a value"),
]


@pytest.mark.parametrize(("status", "stats", "names", "message"), SAID)
def test_an_error_names_what_is_named_and_counted(status, stats, names, message):
    ts = jnp.array([0.0, 1.0])
    run = {"ts": ts, "outputs": (ts,), "names": {}, "status": status, "stats": stats, "state": None}
    with pytest.raises(ag.SimulationError, match=f"^{message}"):
        ag.Trajectory(**run, **names).check()
