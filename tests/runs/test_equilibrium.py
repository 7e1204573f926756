"""Equilibria and trims against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import cast, decay, heat, lotka_volterra, relaxation

import asgard as ag


def driven(t, y, force, *, mass=2.0, drag=0.5):
    """A car: its distance and speed."""
    speed = y["speed"]
    return {"distance": speed, "speed": (force - drag * speed * jnp.abs(speed)) / mass}


CAR = ag.ode(driven, {"distance": 5.0, "speed": 1.0})


PAIR = np.ones(2)


def copter(t, y, thrusts=PAIR, *, mass=1.5, gravity=9.81, arm=0.2):
    """A bar with a propeller at each end, its heights and its tilt."""
    lift, turn = thrusts[0] + thrusts[1], arm * (thrusts[0] - thrusts[1])
    rates = {"x": y["u"], "z": y["w"], "tilt": y["spin"]}
    forces = {"u": -lift * jnp.sin(y["tilt"]) / mass, "spin": turn}
    return rates | forces | {"w": lift * jnp.cos(y["tilt"]) / mass - gravity}


def test_predators_and_prey_rest_where_their_rates_say_with_derivatives():
    def rest(d):
        found = ag.equilibrium(lotka_volterra(d=d))
        return found.state, found

    @jax.jit
    def all_of(d):
        slopes, found = jax.jacrev(rest, has_aux=True)(d)
        return found, (slopes, jax.jacfwd(lambda d: rest(d)[0])(d))

    found, slopes = all_of(0.024)
    np.testing.assert_allclose(found.state["prey"], 0.8 / 0.024, rtol=1e-14)
    np.testing.assert_allclose(found["predator"], 0.55 / 0.028, rtol=1e-14)
    assert found.status == ag.Status.ok
    for slope in slopes:
        np.testing.assert_allclose(slope["prey"], -0.8 / 0.024**2, rtol=1e-13)
        np.testing.assert_allclose(slope["predator"], 0.0, atol=1e-10)


def test_a_free_input_holds_a_speed_while_the_distance_goes_on():
    def force(drag, speed):
        car = ag.ode(driven, {"distance": 5.0, "speed": 1.0}, drag=drag)
        asked = {"inputs": (1.0,), "free": ("force",), "held": ("distance",)}
        found = ag.equilibrium(car, outputs={"speed": speed}, **asked)
        return found.inputs[0], found

    speeds = jnp.array([3.0, 20.0])
    slope = jax.grad(force, (0, 1), has_aux=True)
    (by_drag, by_speed), found = jax.jit(jax.vmap(slope, (None, 0)))(0.5, speeds)
    np.testing.assert_allclose(found.inputs[0], 0.5 * speeds**2, rtol=1e-14)
    np.testing.assert_allclose(found.state["distance"], 5.0)
    np.testing.assert_allclose(by_drag, speeds**2, rtol=1e-13)
    np.testing.assert_allclose(by_speed, speeds, rtol=1e-13)


def test_an_input_of_several_numbers_is_trimmed_for_several_outputs():
    start = dict.fromkeys(("x", "z", "u", "w", "tilt", "spin"), 0.0)
    bar = ag.ode(copter, start)
    found = ag.equilibrium(
        bar, inputs=([1.0, 3.0],), free=(0,), outputs={"x": 2.0, "z": 4.0}, guess={"tilt": 0.1}
    )
    np.testing.assert_allclose(found.inputs[0], 1.5 * 9.81 / 2, rtol=1e-13)
    np.testing.assert_allclose([found["x"], found["z"]], [2.0, 4.0])
    linear = ag.linearize(bar, found)
    np.testing.assert_allclose(
        linear.A[linear.states.index("u"), linear.states.index("tilt")], -9.81
    )
    np.testing.assert_allclose(jax.tree.leaves(linear.point.moves), 0.0, atol=1e-12)


def test_a_linearization_at_an_equilibrium_moves_with_it():
    def stiffness(gravity, torque):
        # Where gravity sin q = torque, the stiffness is gravity cos q.
        def swing(t, y, torque, *, gravity):
            return y[1], torque - gravity * jnp.sin(y[0])

        pendulum = ag.ode(swing, (0.1, 0.0), gravity=gravity)
        rest = ag.equilibrium(pendulum, inputs=(torque,))
        return -ag.linearize(pendulum, rest).A[1, 0]

    value, slopes = jax.jit(jax.value_and_grad(stiffness, (0, 1)))(9.81, 2.0)
    exact = np.sqrt(9.81**2 - 4.0)
    np.testing.assert_allclose(value, exact, rtol=1e-14)
    np.testing.assert_allclose(slopes, (9.81 / exact, -2.0 / exact), rtol=1e-13)


def test_sequences_rest_where_each_sample_is_the_one_before():
    def rest(r):
        grow = ag.recurrence(lambda n, x, *, r: r * x * (1 - x), 0.4, r=r)
        return ag.equilibrium(grow, calculus=ag.Discrete()).output

    value, slope = jax.jit(jax.value_and_grad(rest))(2.5)
    np.testing.assert_allclose([value, slope], [1 - 1 / 2.5, 1 / 2.5**2], rtol=1e-14)
    # x' = u - 2 x as a sum of differences, and as the next sample.
    for option, exact in (("sum", 3.0), ("delay", 2.0)):
        calculus = ag.Discrete(register=option)
        found = ag.equilibrium(relaxation(2.0), inputs=(6.0,), calculus=calculus)
        np.testing.assert_allclose(found.output, exact)


@pytest.mark.slow
def test_an_equilibrium_is_that_of_steady_for_inputs_at_a_time():
    # z = (x + z) / 2, so z = x: x' = (1 + t)^3 - z^3.
    loop = (ag.Function(lambda x, z: (x + z) / 2, 2) >> ag.Split()).trace()
    cube = loop >> ag.Function(lambda z: -(z**3), 1)
    circuit = (ag.Id() @ cube >> ag.Add() >> ag.Register("t", 1.0) >> ag.Split()).trace()
    inputs = (lambda t: (1 + t) ** 3,)
    found = ag.equilibrium(circuit, inputs=inputs, t=2.0)
    run = ag.simulate(circuit, [2.0], inputs=inputs, calculus=ag.Steady())
    np.testing.assert_allclose([found.output, run.output[0]], 3.0, rtol=1e-14)
    assert found.inputs == (27.0,)
    again = ag.equilibrium(circuit, guess=found)
    assert again.inputs == (27.0,)
    np.testing.assert_allclose(again.output, 3.0, rtol=1e-14)


@pytest.mark.slow
def test_a_solve_starts_from_another_equilibrium_or_the_state_of_a_run():
    # x' = x (x - 2) (x - 5).
    circuit = (
        ag.Function(lambda x: x * (x - 2) * (x - 5), 1) >> ag.Register("t", 4.9) >> ag.Split()
    ).trace()
    far = ag.equilibrium(circuit)
    run = ag.simulate(circuit, [0.0, 4.0], calculus=ag.Real(method=ag.Tsit5(), rtol=1e-4))
    found = [ag.equilibrium(circuit, guess=x).output for x in (far, run.state, {"register": 1.9})]
    np.testing.assert_allclose([far.output, *found], [5.0, 5.0, 2.0, 2.0], rtol=1e-14)


def test_where_there_is_no_equilibrium_the_status_says_so():
    grow = (ag.Function(lambda x: 1 + x**2, 1) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    found = ag.equilibrium(grow, throw=False)
    assert found.status == ag.Status.not_converged
    assert np.isnan(found.output)
    assert np.isnan(found.state["register"])
    with pytest.raises(ag.SimulationError, match="the equilibrium misses its fixed point"):
        ag.equilibrium(grow)
    # A state that may rest anywhere is not isolated.
    with pytest.raises(ag.SimulationError, match="not_converged"):
        ag.equilibrium(CAR, inputs=(0.0,))


@pytest.mark.slow
def test_halves_stay_halves_and_a_circuit_without_registers_rests():
    half = ag.equilibrium(cast(relaxation(2.0), jnp.float32), inputs=(jnp.float32(3.0),))
    assert half.output.dtype == jnp.float32
    np.testing.assert_allclose(half.output, 1.5)
    assert ag.equilibrium(ag.Scalar(2.0), inputs=(3.0,)).output == 6.0
    sought = ag.equilibrium(ag.Scalar(2.0), inputs=(1.0,), free=(0,), outputs={0: 5.0})
    np.testing.assert_allclose(sought.inputs[0], 2.5, rtol=1e-15)


def rested(*args, **options):
    return lambda: ag.equilibrium(*args, **options)


WRONG = {
    "no circuit": (rested(3), "equilibrium takes a circuit"),
    "another calculus": (rested(decay(), calculus=ag.Steady()), r"must be Real\(\) or Discrete"),
    "no fixed point": (rested(decay(), fixed_point="newton"), "must be a FixedPoint"),
    "an input too few": (rested(CAR), r"takes 1 input \(force\), but 0 were given"),
    "free without outputs": (rested(CAR, inputs=(0.0,), free=(0,)), "asks for 0 numbers, and the"),
    "outputs without free": (
        rested(CAR, inputs=(0.0,), outputs={"speed": 1.0}),
        "asks for 1 number, and the free inputs have 0",
    ),
    "an unknown input": (rested(CAR, inputs=(0.0,), free=("f",)), "free names 'f'.*are force"),
    "an input twice": (rested(CAR, inputs=(0.0,), free=(0, "force")), "an input twice"),
    "a name for names": (rested(CAR, inputs=(0.0,), free="force"), "must be a tuple of names"),
    "an unknown output": (
        rested(CAR, inputs=(0.0,), free=(0,), outputs={"v": 1.0}),
        "asks for 'v': names of wires and registers are distance, speed",
    ),
    "an output of another shape": (
        rested(CAR, inputs=(0.0,), free=(0,), outputs={"speed": [1.0]}),
        r"outputs\['speed'\] must be an array of shape \(\)",
    ),
    "outputs that are no dictionary": (
        rested(CAR, inputs=(0.0,), outputs=(1.0,)),
        "values by name",
    ),
    "a complex output": (rested(CAR, inputs=(0.0,), free=(0,), outputs={"speed": 1j}), "are real"),
    "a series": (
        rested(heat([0.0, 1.0]), dim="t", outputs={0: 1.0}),
        "outputs asks for 0, which is a series over x",
    ),
    "an unknown register": (rested(CAR, inputs=(0.0,), held=("v",)), "held names 'v'"),
    "an unknown guess": (rested(CAR, inputs=(0.0,), guess={"v": 1.0}), "guess names 'v'"),
    "a guess of another shape": (
        rested(CAR, inputs=(0.0,), guess={"speed": [1.0]}),
        r"guess\['speed'\] must be an array of shape \(\)",
    ),
    "many times": (rested(decay(), t=[0.0, 1.0]), "t must be one time"),
    "noise": (rested(ag.StochasticRegister("t", "W"), inputs=(1.0,)), "noise"),
    "events": (rested(ag.Counter(), inputs=(1.0,)), "a steady state has no events"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_refused_before_anything_compiles(name):
    call, words = WRONG[name]
    with pytest.raises(ag.CircuitError, match=words):
        call()
