"""What goes into a run over time and what comes out of it."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import FAST, decay, heat, lotka_volterra, ode, relaxation

import asgard as ag

TS = np.array([0.0, 0.4, 1.0])
FORCED = relaxation(2.0, 0.5)  # x' = u - 2 x, x(0) = 1/2


class Wave(eqx.Module):
    """An input with parameters."""

    frequency: jax.Array

    def __call__(self, t):
        return jnp.sin(self.frequency * t)


def sine(t, frequency):
    return jnp.sin(frequency * t)


def forced_by_constant(u):
    return np.exp(-2 * TS) / 2 + u * (1 - np.exp(-2 * TS)) / 2


def forced_by_sine(w):
    particular = (2 * np.sin(w * TS) - w * np.cos(w * TS)) / (4 + w**2)
    return particular + (0.5 + w / (4 + w**2)) * np.exp(-2 * TS)


def forced_by_line():
    # u = 1 + t: a particular solution is t/2 + 1/4.
    return TS / 2 + 0.25 + 0.25 * np.exp(-2 * TS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, forced_by_constant(3)),
        (3.0, forced_by_constant(3)),
        (np.float64(0.5), forced_by_constant(0.5)),
        (jnp.array(0.25), forced_by_constant(0.25)),
        (lambda t: 1 + t, forced_by_line()),
        (lambda t: jnp.sin(3 * t), forced_by_sine(3)),
        ((sine, 3.0), forced_by_sine(3)),
        ((sine, np.array(1.5)), forced_by_sine(1.5)),
        (Wave(jnp.array(3.0)), forced_by_sine(3)),
        (ag.Stream([1.0, 1.0], "t"), forced_by_line()),
        (ag.Stream([3.0, 1.0], "t", 2.0), forced_by_line()),
        (ag.Stream([3.0], "t"), forced_by_constant(3)),
    ],
)
def test_an_input_may_be_a_number_a_function_or_a_stream(given, expected):
    found = ag.simulate(FORCED, TS, inputs=(given,)).output
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_an_array_input_makes_a_vector_wire():
    levels = np.array([0.0, 1.0, 3.0])
    # As many as there are times, which an array alone must not be.
    constant = ag.Stream(levels[:, None], "t")
    found = ag.simulate(FORCED, TS, inputs=(constant,)).output
    np.testing.assert_allclose(found, forced_by_constant(levels[:, None]).T, rtol=1e-13)
    found = ag.simulate(FORCED, TS, inputs=(levels[:2],)).output
    np.testing.assert_allclose(found, forced_by_constant(levels[:2, None]).T, rtol=1e-13)


def test_inputs_of_several_wires_keep_their_order():
    circuit = ag.Divide()
    found = ag.simulate(circuit, TS, inputs=(lambda t: 1 + t, [2.0, 4.0])).output
    np.testing.assert_allclose(found, (1 + TS)[:, None] / [2.0, 4.0])


def test_a_stateless_circuit_is_evaluated_at_the_times():
    circuit = ag.Coordinate("t") >> ag.Exp() >> ag.Split()
    first, second = ag.simulate(circuit, TS).outputs
    np.testing.assert_allclose(first, np.exp(TS), rtol=1e-15)
    np.testing.assert_array_equal(first, second)


def test_a_circuit_without_time_runs_over_times():
    np.testing.assert_array_equal(ag.simulate(ag.Const(2.0), TS).output, [2.0, 2.0, 2.0])
    np.testing.assert_allclose(
        ag.simulate(ag.Exp(), TS, inputs=(jnp.sin,)).output[1], math.exp(math.sin(0.4))
    )


def test_a_register_outside_a_loop_integrates():
    found = ag.simulate(ag.Register("t", 2.0), TS, inputs=(jnp.cos,)).output
    np.testing.assert_allclose(found, 2 + np.sin(TS), rtol=1e-14)


def test_registers_in_a_chain_integrate_twice():
    circuit = ag.Register("t", 1.0) >> ag.Register("t", -1.0)
    found = ag.simulate(circuit, TS, inputs=(jnp.exp,)).output
    np.testing.assert_allclose(found, np.exp(TS) - 2, rtol=1e-13)


def test_a_deregister_of_an_output_is_its_derivative():
    circuit = decay(2.0, 3.0) >> ag.Split() >> (ag.Id() @ ag.Deregister("t"))
    x, slope = ag.simulate(circuit, TS).outputs
    np.testing.assert_allclose(x, 3 * np.exp(-2 * TS), rtol=1e-13)
    np.testing.assert_allclose(slope, -6 * np.exp(-2 * TS), rtol=1e-13)


def test_a_deregister_of_an_input_is_its_derivative():
    circuit = ag.Deregister("t") >> ag.Deregister("t")
    found = ag.simulate(circuit, TS, inputs=(jnp.sin,)).output
    np.testing.assert_allclose(found, -np.sin(TS), rtol=1e-14)


def test_a_deregister_within_a_loop_of_positive_delay_runs():
    # x = 1 + ∫∫ d/dt x: x' is x's integral's derivative, so x' = x, x(0) = 1.
    body = ag.Deregister("t") >> ag.Register("t", 1.0) >> ag.Register("t", 1.0) >> ag.Split()
    found = ag.simulate(body.trace(), TS).output
    # The inner register holds 1 + x - x(0) = x.
    np.testing.assert_allclose(found, np.exp(TS), rtol=1e-12)


def test_named_wires_are_read_by_name():
    trajectory = ag.simulate(lotka_volterra(), TS)
    np.testing.assert_array_equal(trajectory["prey"], trajectory.outputs[0])
    np.testing.assert_array_equal(trajectory["predator"], trajectory.outputs[1])
    with pytest.raises(KeyError, match="named once: predator, prey"):
        trajectory["pray"]


def test_lotka_volterra_keeps_what_it_conserves():
    a, b, c, d = 0.55, 0.028, 0.8, 0.024
    x, y = map(np.asarray, ag.simulate(lotka_volterra(), np.linspace(0, 20, 41)).outputs)
    conserved = d * x - c * np.log(x) + b * y - a * np.log(y)
    np.testing.assert_allclose(conserved, conserved[0], rtol=1e-13)


def test_a_name_inside_a_loop_is_no_output():
    loop = ag.Scalar(-1.0) >> ag.Var("rate") >> ag.Register("t", 1.0) >> ag.Split()
    trajectory = ag.simulate(loop.trace(), TS)
    assert len(trajectory.outputs) == 1
    np.testing.assert_allclose(trajectory["rate"], -np.exp(-TS), rtol=1e-14)


def test_output_is_for_one_output_only():
    with pytest.raises(ag.CircuitError, match="has 2: use outputs"):
        _ = ag.simulate(lotka_volterra(), TS).output


def test_a_run_backward_in_time_returns():
    there = ag.simulate(FORCED, TS, inputs=(jnp.sin,)).output[-1]
    back = ag.update(FORCED, {"register.initial": there})
    found = ag.simulate(back, TS[::-1], inputs=(jnp.sin,)).output
    np.testing.assert_allclose(found[::-1], forced_by_sine(1.0), rtol=1e-12)


def test_a_single_time_gives_the_start():
    trajectory = ag.simulate(decay(1.0, 5.0), [3.0])
    np.testing.assert_array_equal(trajectory.output, [5.0])
    assert trajectory.status == ag.Status.ok


def test_times_start_anywhere():
    found = ag.simulate(ag.Register("t", 1.0), [1e3, 1e3 + 0.5], inputs=(jnp.cos,)).output[-1]
    np.testing.assert_allclose(found, 1 + math.sin(1e3 + 0.5) - math.sin(1e3), rtol=1e-12)


def test_the_heat_equation_of_a_polynomial_is_exact():
    found = ag.simulate(heat([0.0, 0.0, 0.0, 0.0, 1.0]), TS, dim="t").output
    assert found.shape == (3, 5)
    expected = np.stack([12 * TS**2, 0 * TS, 12 * TS, 0 * TS, 1 + 0 * TS], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_a_stream_over_another_dimension_is_an_input():
    given = ag.Stream([1.0, 2.0, 3.0], "x")
    found = ag.simulate(ag.Register("t", 1.0), TS, inputs=(given,)).output
    np.testing.assert_allclose(found, np.outer(TS, [1.0, 2.0, 3.0]) + np.eye(3)[0], rtol=1e-14)


def test_a_stream_over_both_dimensions_is_an_input():
    # u = (1 + 2 t) x, so ∫u dt = (t + t²) x.
    given = ag.Stream([[0.0, 1.0], [0.0, 2.0]], ("t", "x"))
    found = ag.simulate(ag.Register("t"), TS, inputs=(given,)).output
    np.testing.assert_allclose(found, np.outer(TS + TS**2, [0.0, 1.0]), rtol=1e-14)


def test_a_nonlinear_loop_over_another_dimension_agrees_with_its_closed_form():
    # u_t = u² from 1 + x gives (1 + x) / (1 - t (1 + x)): to order 3 in x by expansion.
    start = ag.Register("t", ag.Stream([1.0, 1.0], "x"))
    circuit = (ag.Power(2) >> start >> ag.Split()).trace()
    calculus = ag.Real(order={"t": 20, "x": 3})
    found = ag.simulate(circuit, [0.0, 0.25, 0.5], dim="t", calculus=calculus).output
    t = np.array([0.0, 0.25, 0.5])
    expected = [1 / (1 - t)] + [t ** (k - 1) / (1 - t) ** (k + 1) for k in (1, 2, 3)]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-12, atol=1e-13)


def test_time_is_the_dimension_asked_for():
    circuit = ag.Register("a", 1.0) >> ag.Register("b", 2.0)
    found = ag.simulate(circuit, TS, inputs=(3.0,), dim="a").output
    # Along b, 2 + b (1 + 3 a): the runs holds no order of b past those given.
    np.testing.assert_allclose(found.reshape(3, -1)[:, 0], 2.0)


def test_noise_off_runs_the_drift_alone():
    drift = (ag.Scalar(-1.0) >> ag.Register("t", 1.0)) @ ag.StochasticRegister("t", "W", 0.25)
    circuit = (ag.Split() >> drift >> ag.Add() >> ag.Split()).trace()
    found = ag.simulate(circuit, TS, calculus=ag.Real(noise="off")).output
    # z = 1 - ∫z + 0.25.
    np.testing.assert_allclose(found, 1.25 * np.exp(-TS), rtol=1e-13)


def test_a_mass_matrix_valued_wire_runs():
    rotation = np.array([[0.0, -1.0], [1.0, 0.0]])
    found = ag.simulate(ode(lambda x: rotation @ x, jnp.eye(2)), TS).output
    expected = [[[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]] for t in TS]
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_initial_content_broadcasts_to_its_input():
    circuit = ag.Register("t", 1.0)
    found = ag.simulate(circuit, TS, inputs=(np.array([1.0, 2.0]),)).output
    np.testing.assert_allclose(found, 1 + np.outer(TS, [1.0, 2.0]), rtol=1e-15)


def test_compile_gives_a_function_of_streams_and_state():
    fn = ag.compile(FORCED, ag.Real(order=6))
    given, state = ag.Stream([3.0], "t"), {"kept": jnp.array(1.0)}
    output, handed_back = fn((given,), state)
    expected = [0.5] + [(0.5 - 1.5) * (-2.0) ** k / math.factorial(k) for k in range(1, 7)]
    np.testing.assert_allclose(output.coefficients, expected, rtol=1e-14)
    assert handed_back is state
    plainly, _ = ag.compile(FORCED, ag.Real(order=6), jit=False)((given,), None)
    np.testing.assert_allclose(plainly.coefficients, expected, rtol=1e-14)


def test_compile_takes_an_order_for_each_dimension():
    fn = ag.compile(heat([0.0, 0.0, 1.0]), ag.Real(order={"t": 1, "x": 2}))
    output, _ = fn((), None)
    expected = output.coefficients if output.dims == ("t", "x") else output.coefficients.T
    np.testing.assert_allclose(expected, [[0, 0, 1], [2, 0, 0]])


def test_compile_works_under_jit_and_grad():
    def last(rate):
        fn = ag.compile(decay(rate), ag.Real(order=3))
        return fn((), None)[0].coefficients[-1]

    np.testing.assert_allclose(jax.jit(jax.grad(last))(2.0), -(2.0**2) / 2, rtol=1e-14)


def test_saved_times_past_one_turn_are_all_read():
    ts = np.linspace(0, 1, 100)
    found = ag.simulate(decay(), ts, calculus=FAST).output
    np.testing.assert_allclose(found, np.exp(-ts), rtol=1e-7)


def test_numbers_of_python_that_a_tree_map_puts_in_are_arrays_in_a_run():
    circuit = ag.ode(lambda t, y, *, rate: -rate * y, 1.0, rate=2.0)
    changed = eqx.tree_at(lambda c: c.keywords["rate"], circuit, 3)
    np.testing.assert_allclose(ag.simulate(changed, [0.0, 1.0]).output[-1], np.exp(-3), rtol=1e-14)
    assert ag.linearize(changed).A == -3
    assert ag.vector_field(changed)[0](0.0, {"y": 1.0})["y"] == -3
    with pytest.raises(ag.CircuitError, match="simulate runs a circuit that holds 'a'"):
        ag.simulate(eqx.tree_at(lambda c: c.keywords["rate"], circuit, "a"), [0.0, 1.0])
