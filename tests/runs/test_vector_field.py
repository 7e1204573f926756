"""A circuit as dy/dt for other solvers: here a Runge-Kutta method written out, and diffrax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import Decay, cast, decay, heat, ode, oscillator, relaxation

import asgard as ag

# z = cos(x + z) / 2 on a loop that no register cuts.
LOOP = (ag.Add() >> ag.Cos() >> ag.Scalar(0.5) >> ag.Var("z") >> ag.Split()).trace()
# x' = u - 1.5 z.
RATE = ag.Id() @ (LOOP >> ag.Scalar(-1.5)) >> ag.Add()
DRIVEN = (RATE >> ag.Register("t", 1.0) >> ag.Var("x") >> ag.Split()).trace()
TIMES = jnp.linspace(0.0, 1.0, 65)
QUICK = ag.Real(method=ag.Tsit5(), rtol=1e-10, max_steps=255, fixed_point=ag.FixedPoint("picard"))


def wave(t, frequency):
    return jnp.sin(frequency * t)


def rk4(fn, y0, ts):
    """The states at equidistant times by the classical method of order 4."""
    h = ts[1] - ts[0]

    def plus(y, step, slope):
        return jax.tree.map(lambda y, slope: y + step * slope, y, slope)

    def step(y, t):
        def stage(carry, coefficients):
            slope, total = carry
            ahead, weight = coefficients
            slope = fn(t + ahead * h, plus(y, ahead * h, slope))
            return (slope, plus(total, weight * h, slope)), None

        stages = jnp.array([0.0, 0.5, 0.5, 1.0]), jnp.array([1.0, 2.0, 2.0, 1.0]) / 6
        y = jax.lax.scan(stage, (jax.tree.map(jnp.zeros_like, y), y), stages)[0][1]
        return y, y

    ys = jax.lax.scan(step, y0, ts[:-1])[1]
    return jax.tree.map(lambda start, rest: jnp.concatenate([start[None], rest]), y0, ys)


def by_other_solver(circuit, frequency):
    fn, y0, read = ag.vector_field(circuit, ((wave, frequency),), calculus=QUICK)
    return jax.vmap(read)(TIMES, rk4(fn, y0, TIMES))


def by_simulate(circuit, frequency):
    return ag.simulate(circuit, TIMES, inputs=((wave, frequency),), calculus=QUICK)


@pytest.mark.slow
def test_values_and_derivatives_agree_with_simulate():
    def found(run):
        def loss(circuit, frequency):
            rows = run(circuit, frequency)
            return rows.output[-1] + rows["z"][32], (rows.output, rows["x"], rows["z"])

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(DRIVEN, 2.0)

    ours, theirs = map(found, (by_simulate, by_other_solver))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-7), ours, theirs)


def test_args_are_a_circuit_in_place_of_the_one_given():
    fn, y0, read = ag.vector_field(DRIVEN, (2.0,))
    other = ag.update(DRIVEN, {"scalar[1].factor": -3.0})

    slopes = jax.jit(jax.grad(lambda args: fn(0.0, y0, args)["x"]))(other)
    z = read(0.0, y0, other)["z"]
    np.testing.assert_allclose(fn(0.0, y0, other)["x"], 2.0 - 3.0 * z, rtol=1e-14)
    np.testing.assert_allclose(ag.parameters(slopes)["scalar[1].factor"], z, rtol=1e-14)


def test_registers_are_named_by_wires_then_by_parameters_then_by_position():
    named = ag.Register("t", 1.0) >> ag.Var("x")
    blocks = Decay(jnp.array(2.0)) @ ag.Register("t", 2.0) @ named
    _, y0, _ = ag.vector_field(blocks, (0.0, 0.0, 0.0))
    assert {name: float(y) for name, y in y0.items()} == {
        "register 0": 1.0,
        "register[0]": 2.0,
        "x": 1.0,
    }


def test_a_wire_of_the_name_of_another_register_keeps_it():
    circuit = ag.Register("t", 1.0) @ (Decay(jnp.array(2.0)) >> ag.Var("register"))
    assert set(ag.vector_field(circuit, (0.0, 0.0))[1]) == {"register 0", "register"}


INPUTS = {
    "a number": (3.0, 3.0),
    "a function": (jnp.exp, np.exp(0.5)),
    "a function of arguments": ((wave, 2.0), np.sin(1.0)),
    "samples": (ag.Samples([1.0, 3.0], [0.0, 1.0], "linear"), 2.0),
    "a stream": (ag.Stream([1.0, 2.0, 4.0], "t"), 3.0),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_are_those_of_simulate(name):
    given, at_half = INPUTS[name]
    fn, y0, _ = ag.vector_field(relaxation(2.0), [given])
    np.testing.assert_allclose(fn(0.5, y0)["register"], at_half - 2.0, rtol=1e-15)


def test_fields_and_readings_map_over_circuits_times_and_states():
    def slope(rate, t, x):
        fn, _, read = ag.vector_field(decay(rate), ())
        y = {"register": x}
        return fn(t, y)["register"], read(t, y).output

    rates, xs = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
    slopes, outputs = jax.jit(jax.vmap(slope))(rates, jnp.zeros(2), xs)
    np.testing.assert_allclose(slopes, -rates * xs)
    np.testing.assert_allclose(outputs, xs)


def test_a_field_is_a_function_to_jit_and_an_argument_of_one():
    fn, y0, _ = ag.vector_field(decay(2.0))
    for found in (jax.jit(fn)(0.0, y0), jax.jit(lambda fn, y: fn(0.0, y))(fn, y0)):
        assert found == {"register": -2.0}


def test_a_field_holds_no_empty_tuple():
    # diffrax.BacksolveAdjoint, in docs/other_solvers.md, fails on one.
    field, y0, _ = ag.vector_field(decay(1.0))
    assert y0
    leaves = jax.tree.leaves(field, is_leaf=lambda node: isinstance(node, tuple) and not node)
    assert not any(isinstance(leaf, tuple) for leaf in leaves)


def test_functions_without_series_rules_are_allowed():
    spectrum = ode(lambda x: jnp.linalg.eigvalsh(jnp.diag(x)), [2.0, 1.0])
    with pytest.raises(ag.CircuitError, match="no series rule"):
        ag.simulate(spectrum, [0.0, 1.0])
    fn, y0, _ = ag.vector_field(spectrum)
    np.testing.assert_allclose(fn(0.0, y0)["register"], [1.0, 2.0], rtol=1e-15)


def test_other_dimensions_are_coefficient_axes():
    fn, y0, read = ag.vector_field(heat([0.0, 0.0, 1.0]), dim="t")  # x^2
    assert fn(0.0, y0)["register"].tolist() == [2.0, 0.0, 0.0]
    assert read(0.0, y0).output.tolist() == [0.0, 0.0, 1.0]


def test_derivatives_along_time_are_those_of_the_solution():
    drive = ag.Split() >> (ag.Id() @ ag.Deregister("t")) >> ag.Add()  # sin t + cos t
    circuit = drive >> relaxation(2.0, 3.0) >> ag.Split() >> (ag.Id() @ ag.Deregister("t"))
    fn, y0, read = ag.vector_field(circuit, (jnp.sin,))
    np.testing.assert_allclose(fn(0.0, y0)["register"], 1.0 - 6.0)
    np.testing.assert_allclose(read(0.0, y0).outputs, (3.0, -5.0))


def test_a_circuit_without_registers_has_an_empty_state():
    fn, y0, read = ag.vector_field(ag.Scalar(2.0), (jnp.sin,))
    assert (fn(1.0, y0), y0) == ({}, {})
    np.testing.assert_allclose(read(1.0, y0).output, 2 * np.sin(1.0))


def test_dtypes_stay_under_strict_promotion():
    fn, y0, read = ag.vector_field(cast(oscillator(), jnp.float32))
    with jax.numpy_dtype_promotion("strict"):
        slopes, row = fn(0.0, y0), read(0.0, y0)
    assert {leaf.dtype for leaf in jax.tree.leaves((y0, slopes, row))} == {jnp.dtype("float32")}


NOISE = ag.StochasticRegister("t", "W")
# Circuits that no run takes, with the number of their inputs.
REFUSED = {
    "no circuit": (3, ()),
    "noise": (NOISE, (1.0,)),
    "a unit delay": (ag.Delay("t"), (1.0,)),
    "a substitution": (ag.Substitution(ag.Const(1.0), ag.Id(), "t"), ()),
    "a loop that nothing guards": ((ag.Deregister("t") >> ag.Split()).trace(), ()),
    "two dimensions": (ag.Register("a") >> ag.Register("b"), (1.0,)),
    "an input too many": (decay(), (1.0,)),
    "an input of words": (relaxation(), ("u",)),
    "inputs that are no tuple": (relaxation(), 1.0),
    "a function that fails": (relaxation(), (lambda t: t @ t,)),
    "shapes that do not join": (ag.Register("t", [1.0, 2.0]), ([1.0, 2.0, 3.0],)),
    "content along time": (ag.Register("t", ag.Stream([1.0], "t")), (1.0,)),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", REFUSED)
def test_what_simulate_refuses_is_refused_in_its_words(name):
    circuit, inputs = REFUSED[name]
    with pytest.raises(ag.CircuitError) as expected:
        ag.simulate(circuit, [0.0, 1.0], inputs=inputs)
    with pytest.raises(ag.CircuitError) as found:
        ag.vector_field(circuit, inputs)
    assert type(found.value) is type(expected.value)
    words = str(expected.value).replace("simulate runs a", "vector_field takes a")
    assert str(found.value) == words


def test_noise_that_is_off_keeps_its_initial_content():
    fn, y0, read = ag.vector_field(NOISE, (1.0,), calculus=ag.Real(noise="off"))
    assert fn(0.0, y0) == {}
    assert read(0.0, y0).output == 0.0


def made(**options):
    return lambda fn: ag.vector_field(decay(), **options)


CALLS = {
    "another calculus": (made(calculus=ag.Steady()), "calculus must be Real"),
    "a list for a dimension": (made(dim=["t"]), "named by an identifier"),
    "a state of other names": (
        lambda fn: fn(0.0, {"x": 1.0}),
        "the names register, not the names x",
    ),
    "a state of no names": (lambda fn: fn(0.0, 1.0), "must be a dictionary like y0"),
    "a state of another shape": (
        lambda fn: fn(0.0, {"register": jnp.ones(2)}),
        r"y\['register'\] must be an array of shape \(\), not \(2,\)",
    ),
    "a state of words": (lambda fn: fn(0.0, {"register": "x"}), "y must be numbers"),
    "many times": (lambda fn: fn(jnp.ones(2), {"register": 1.0}), "t must be one time"),
    "a time of words": (lambda fn: fn("now", {"register": 1.0}), "t must be a number"),
    "args of another circuit": (
        lambda fn: fn(0.0, {"register": 1.0}, oscillator()),
        "args must be None or a circuit",
    ),
    "args that are no circuit": (lambda fn: fn(0.0, {"register": 1.0}, 2.0), "args must be None"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_refused_in_the_users_terms(name):
    call, words = CALLS[name]
    fn, _, _ = ag.vector_field(decay())
    with pytest.raises(ag.CircuitError, match=words):
        call(fn)


def test_diffrax_solves_a_circuit():
    diffrax = pytest.importorskip("diffrax")
    fn, y0, read = ag.vector_field(decay(2.0) >> ag.Var("x"))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(fn),
        diffrax.Heun(),
        *(0.0, 1.0, 1 / 64, y0),
        saveat=diffrax.SaveAt(ts=TIMES),
    )
    found = jax.vmap(read)(solution.ts, solution.ys)
    np.testing.assert_allclose(found["x"], np.exp(-2 * TIMES), rtol=1e-3)
