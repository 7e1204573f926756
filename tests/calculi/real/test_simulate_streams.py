"""Streams, dtypes and states in a run over time, where they meet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import decay

import asgard as ag

POLYNOMIAL = ag.Stream([0.0, 1.0], "x", center=2.0)  # x - 2
SECOND_DERIVATIVE = ag.Deregister("x") >> ag.Deregister("x")


def test_streams_over_another_dimension_keep_their_centre():
    circuit = ag.Register("t", POLYNOMIAL) @ ag.Coordinate("x") >> ag.Multiplication()
    trajectory = ag.simulate(circuit, [0.0, 1.0], dim="t", inputs=(0.0,))
    # (x - 2) x = 2 (x - 2) + (x - 2)^2, of which the run holds one order.
    np.testing.assert_allclose(trajectory.output, [[0.0, 2.0], [0.0, 2.0]], rtol=1e-15)


def test_streams_about_different_centres_are_never_added():
    other = ag.Register("t", ag.Stream([0.0, 1.0], "x"))
    circuit = ag.Register("t", POLYNOMIAL) @ other >> ag.Add()
    trajectory = ag.simulate(circuit, [0.0, 1.0], dim="t", inputs=(0.0, 0.0), throw=False)
    assert np.all(np.isnan(trajectory.output))


def test_initial_content_along_time_is_refused():
    circuit = ag.Register("y", ag.Stream([0.0, 0.0, 1.0], "t")) @ ag.Register("t")
    with pytest.raises(ag.DimensionError, match="changes along t"):
        ag.simulate(circuit, [0.0, 1.0], dim="t", inputs=(0.0, 1.0))


def test_a_dimension_along_which_a_loop_loses_orders_is_no_time():
    heat = (ag.Add() >> ag.Split() >> ag.Id() @ (SECOND_DERIVATIVE >> ag.Register("t"))).trace()
    with pytest.raises(ag.LoopError, match="cannot be the run's time"):
        ag.simulate(heat, [0.0, 1.0], dim="x", inputs=(0.0,))


def test_another_input_holds_from_the_time_of_the_state_on():
    register = ag.Register("t")
    first = ag.simulate(register, [0.0, 5.0], inputs=(0.0,))
    second = ag.simulate(register, [5.0, 6.0], inputs=(1.0,), state=first.state)
    np.testing.assert_allclose(second.output, [0.0, 1.0], rtol=0, atol=1e-15)


def test_other_parameters_hold_from_the_time_of_the_state_on():
    first = ag.simulate(decay(1.0), [0.0, 5.0])
    second = ag.simulate(decay(2.0), [5.0, 6.0], state=first.state)
    np.testing.assert_allclose(second.output, np.exp([-5.0, -7.0]), rtol=1e-14)


def test_a_run_turns_back_from_the_time_of_its_state():
    first = ag.simulate(decay(1.0), [0.0, 5.0])
    second = ag.simulate(decay(1.0), [5.0, 0.0], state=first.state)
    np.testing.assert_allclose(second.output, np.exp([-5.0, 0.0]), rtol=1e-13)


@pytest.mark.parametrize("of_times", ["float32", "float64"])
@pytest.mark.parametrize("of_circuit", ["float32", "float64"])
def test_a_run_has_the_dtype_of_its_circuit_whatever_that_of_its_times(of_circuit, of_times):
    circuit = jax.tree.map(lambda leaf: leaf.astype(of_circuit), decay(1.0))
    first = ag.simulate(circuit, jnp.array([0.0, 1.0], of_times))
    second = ag.simulate(circuit, jnp.array([1.0, 2.0], "float64"), state=first.state)
    assert first.output.dtype == second.output.dtype == of_circuit
    bound = 8 * jnp.finfo(of_circuit).eps
    np.testing.assert_allclose(second.output, np.exp([-1.0, -2.0]), rtol=bound)


def test_complex_and_real_wires_run_side_by_side():
    turn = (ag.Scalar(1j) >> ag.Register("t", 1.0 + 0j) >> ag.Split()).trace()
    turned, decayed = ag.simulate(turn @ decay(1.0), [0.0, 1.0]).outputs
    np.testing.assert_allclose(turned, np.exp([0.0, 1j]), rtol=1e-14)
    np.testing.assert_allclose(decayed, np.exp([0.0, -1.0]), rtol=1e-14)
    assert not jnp.iscomplexobj(decayed)
