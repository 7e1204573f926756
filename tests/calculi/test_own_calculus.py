"""A calculus defined outside of the package: at rest, nothing goes into any register."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag
from asgard.calculi.cut import Cut
from asgard.calculi.pointwise import Pointwise
from asgard.fixed_points.implicit import fixed_point
from asgard.taylor.network import register

# What each type of atom means, or the error to raise.
MEANINGS = {
    ag.Register: register,
    ag.Deregister: "nothing changes at rest",
    ag.Delay: "there are no samples at rest",
}


class Rest(ag.Calculus):
    """Registers hold the x with g(x) = 0, where g is what goes into them: x = x + g(x)."""

    options: ag.FixedPoint = eqx.field(default_factory=lambda: ag.FixedPoint("newton"))

    def simulate(self, circuit: Any, ts: Any, inputs: Any, dim: Any, state: Any) -> ag.Trajectory:
        cut = Cut.of(
            *(circuit, ts[0], inputs, dim),
            calculus="Rest",
            meanings=MEANINGS,
            fixed_point=self.options,
        )
        pointwise = Pointwise(cut, ts.dtype)

        def moved(t: Any, *contents: Any) -> Any:
            feeds = pointwise.feeds(t, contents, pointwise.start())
            return [x + g for x, g in zip(contents, feeds.values, strict=True)]

        found, (turns, residual, converged) = fixed_point(
            moved, (ts[0],), pointwise.begin(), self.options
        )
        row = pointwise.outputs(ts[0], tuple(found), pointwise.start(), {})
        outputs, names = jax.tree.map(lambda x: x[None], (row.outputs, row.names))
        status = ag.Status.where(converged, ag.Status.ok, ag.Status.not_converged)
        stats = {"iterations": turns, "residual": residual, "loop": jnp.int32(0)}
        return ag.Trajectory(ts, outputs, names, status, stats, None, loops=("the state",))


def circuit(feed, removal):
    """x' = feed - removal y², with y on a loop that no register cuts: y = (x + y) / 2, so y = x."""
    inner = (ag.Function(lambda x, y: (x + y) / 2, 2) >> ag.Split()).trace()
    rate = ag.Power(2) >> ag.Scalar(-removal) >> (ag.Id() @ ag.Const(feed)) >> ag.Add()
    return (inner >> rate >> ag.Register("t", 1.0) >> ag.Var("x") >> ag.Split()).trace()


def rest(feed, removal):
    found = ag.simulate(circuit(feed, removal), [0.0], calculus=Rest())
    return found["x"][0]


def test_a_circuit_with_loops_runs_under_jit_and_grad():
    run = jax.jit(jax.value_and_grad(rest, argnums=(0, 1)))
    value, slopes = run(8.0, 2.0)
    np.testing.assert_allclose(value, 2.0, rtol=1e-15)
    np.testing.assert_allclose(slopes, (0.125, -0.5), rtol=1e-14)


def test_a_circuit_without_rest_has_a_status():
    with pytest.raises(ag.SimulationError, match="not_converged, the state"):
        ag.simulate(circuit(-1.0, 1.0), [0.0], calculus=Rest())


def test_an_atom_without_a_meaning_is_refused_by_name():
    atoms = {
        "deregister.t.: nothing changes at rest": ag.Deregister("t"),
        "stochastic_register.t, W. has no meaning under Rest": ag.StochasticRegister("t", "W"),
    }
    for message, atom in atoms.items():
        with pytest.raises(ag.CircuitError, match=message):
            ag.simulate(ag.Const(1.0) >> atom, [0.0], calculus=Rest())


def test_a_calculus_that_draws_nothing_refuses_a_key_and_has_no_compiled_form():
    for given in ({"key": jax.random.key(0)}, {"path": 3}):
        with pytest.raises(ag.CircuitError, match="Rest draws nothing: leave out key and path"):
            ag.simulate(circuit(8.0, 2.0), [0.0], calculus=Rest(), **given)
    with pytest.raises(ag.CircuitError, match="compile has no meaning under Rest"):
        ag.compile(circuit(8.0, 2.0), Rest())
