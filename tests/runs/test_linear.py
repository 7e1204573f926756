"""Linear systems of circuits against closed forms and SciPy."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from helpers import slow
from systems import cast, decay, heat, lotka_volterra, relaxation

import asgard as ag

W = np.array([0.1, 0.3, 1.7, 20.0])


@ag.circuit
def pendulum(torque, *, gravity=9.81, damping=0.1, start=1.0):
    angle, speed = ag.register("t", start), ag.register("t", 0.0)
    angle.input = speed
    speed.input = torque - gravity * jnp.sin(angle) - damping * speed
    return {"angle": angle, "speed": speed}


def motor(t, y, voltage, *, inertia=0.01, friction=0.1, torque=0.02, resistance=1.0, coil=0.5):
    turn = (torque * y["current"] - friction * y["speed"]) / inertia
    flow = (voltage - resistance * y["current"] - torque * y["speed"]) / coil
    return {"speed": turn, "current": flow}


def cart(t, y, force, *, cart=0.5, bob=0.2, length=0.3, gravity=9.81):
    """A pendulum on a cart, its angle from upright."""
    _, v, q, w = y
    sine, cosine = jnp.sin(q), jnp.cos(q)
    share = cart + bob * sine**2
    along = (force + bob * sine * (length * w**2 - gravity * cosine)) / share
    around = (-force * cosine - bob * length * w**2 * sine * cosine) / length
    around = (around + (cart + bob) * gravity * sine / length) / share
    return (v, along, w, around)


def ladder(t, v, source, *, rate=2.0):
    """Capacitors in a row of resistors, of which the first has the source and the last no end."""
    before = jnp.concatenate([source[None], v[:-1]])
    after = jnp.concatenate([v[1:], v[-1:]])
    return rate * (before - 2 * v + after)


@ag.circuit
def controlled(reference, *, proportional=3.0, integral=2.0, derivative=0.4, filtered=20.0):
    """A PID controller, its derivative filtered, around 1 / (s + 1)²."""
    y, rate = ag.register("t", 0.0), ag.register("t", 0.0)
    total, slow = ag.register("t", 0.0), ag.register("t", 0.0)
    error = reference - y
    fast = filtered * (error - slow)
    total.input, slow.input = error, fast
    y.input = rate
    rate.input = proportional * error + integral * total + derivative * fast - y - 2 * rate
    return y


TWO = np.zeros(2)


def coupled(t, x, u=TWO, *, a, b):
    return a @ x + b @ u


A3 = np.array([[-1.0, 2.0, 0.0], [0.5, -3.0, 1.0], [0.0, 0.25, -2.0]])
B3 = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])


@dataclasses.dataclass(frozen=True)
class System:
    """A circuit with a point of it, and the matrices or the transfer function that are known."""

    circuit: ag.Circuit
    matrices: Callable[[], tuple[Any, ...]] | None
    at: Any = None
    inputs: tuple[Any, ...] = ()
    transfer: Callable[[Any], Any] | None = None
    output: int = 0


def of_pendulum(sign):
    return lambda: ([[0, 1], [sign * 9.81, -0.1]], [[0], [1]], np.eye(2), np.zeros((2, 1)))


def of_cart():
    ratio, lever = 0.2 * 9.81 / 0.5, 0.5 * 0.3
    a = [[0, 1, 0, 0], [0, 0, -ratio, 0], [0, 0, 0, 1], [0, 0, 0.7 * 9.81 / lever, 0]]
    return a, [[0], [2], [0], [-1 / lever]], np.eye(4), np.zeros((4, 1))


def of_ladder():
    a = 2.0 * (np.eye(5, k=1) - 2 * np.eye(5) + np.eye(5, k=-1))
    a[4, 4] = -2.0
    return a, 2.0 * np.eye(5, 1), np.eye(5), np.zeros((5, 1))


def of_prey():
    x, y = 0.8 / 0.024, 0.55 / 0.028
    return [[0, -0.028 * x], [0.024 * y, 0]], np.zeros((2, 0)), np.eye(2), np.zeros((2, 0))


def of_van_der_pol():
    return [[0, 1], [-1, 5]], np.zeros((2, 0)), [[1, 0]], np.zeros((1, 0))


def of_feedback():
    # z = cos(x + z) / 2 gives z' = -s / (1 + s) with s = sin(x + z) / 2.
    z = 0.5
    for _ in range(200):
        z = np.cos(0.7 + z) / 2
    s = np.sin(0.7 + z) / 2
    return [[1.5 * s / (1 + s)]], [[1.0]], [[1.0]], [[0.0]]


def spring_transfer(s):
    return 1 / (2.0 * s**2 + 0.3 * s + 5.0)


def motor_transfer(s):
    return 0.02 / ((0.01 * s + 0.1) * (0.5 * s + 1.0) + 0.02**2)


def loop_transfer(s):
    control = (3.0 * s + 2.0) * (s + 20.0) + 0.4 * 20.0 * s**2
    return control / (s * (s + 20.0) * (s + 1) ** 2 + control)


VAN_DER_POL = ag.equations("diff(x, t, 2) = m*(1 - x^2)*diff(x, t) - x", parameters={"m": 5.0})
SPRING = ag.equations(
    "m*diff(x, t, 2) + c*diff(x, t) + k*x = f",
    parameters={"m": 2.0, "c": 0.3, "k": 5.0},
    inputs=("f",),
)
LOOP = (ag.Add() >> ag.Cos() >> ag.Scalar(0.5) >> ag.Var("z") >> ag.Split()).trace()
RATE = ag.Id() @ (LOOP >> ag.Scalar(-1.5)) >> ag.Add()
FEEDBACK = (RATE >> ag.Register("t", 0.7) >> ag.Var("x") >> ag.Split()).trace()
GRID = ag.Function(lambda x: A3 @ x, 1) >> ag.Register("t", np.ones((3, 2))) >> ag.Split()
MOTOR = ag.ode(motor, {"speed": 0.0, "current": 0.0})

SYSTEMS = {
    "a pendulum that hangs": System(pendulum(), of_pendulum(-1), {"angle": 0.0}, (0.0,)),
    "a pendulum upright": System(pendulum(), of_pendulum(1), {"angle": np.pi}, (0.0,)),
    "a mass on a spring": System(SPRING, None, None, (0.0,), spring_transfer),
    "a motor": System(
        ag.ode(motor, {"speed": 0.0, "current": 0.0}), None, None, (0.0,), motor_transfer, 0
    ),
    "a pendulum on a cart": System(ag.ode(cart, (0.0, 0.0, 0.0, 0.0)), of_cart, None, (0.0,)),
    "a ladder of resistors": System(ag.ode(ladder, np.zeros(5)), of_ladder, None, (0.0,)),
    "a controlled plant": System(controlled(), None, None, (0.0,), loop_transfer),
    "predators and prey": System(
        lotka_volterra(), of_prey, {"prey": 0.8 / 0.024, "predator": 0.55 / 0.028}
    ),
    "van der Pol's": System(VAN_DER_POL, of_van_der_pol),
    "a loop without registers": System(FEEDBACK, of_feedback, None, (0.0,)),
    "inputs in a vector": System(
        ag.ode(coupled, np.zeros(3), a=A3, b=B3),
        lambda: (A3, B3, np.eye(3), np.zeros((3, 2))),
        None,
        (TWO,),
    ),
    "a state in a matrix": System(
        GRID.trace(),
        lambda: (np.kron(A3, np.eye(2)), np.zeros((6, 0)), np.eye(6), np.zeros((6, 0))),
    ),
}
# Each of whose kind the quick tier has another.
SLOW = (
    "a pendulum that hangs",
    "a mass on a spring",
    "a ladder of resistors",
    "a controlled plant",
)


@jax.jit
def found(circuit, at, inputs, w):
    linear = ag.linearize(circuit, at, inputs=inputs)
    return linear, ag.frequency_response(circuit, w, at=at, inputs=inputs)


# SciPy goes by the coefficients of polynomials, of which the first should be 0 and are not quite.
@pytest.mark.filterwarnings("ignore::scipy.signal.BadCoefficients")
@pytest.mark.parametrize("name", [slow(name) if name in SLOW else name for name in SYSTEMS])
def test_matrices_and_responses_are_the_closed_forms(name):
    system = SYSTEMS[name]
    linear, response = found(system.circuit, system.at, system.inputs, W)
    if system.matrices is not None:
        for ours, exact in zip(linear, system.matrices(), strict=True):
            np.testing.assert_allclose(ours, np.array(exact, float), rtol=1e-14, atol=1e-14)
    first = response[:, system.output, 0] if response.shape[-1] else response
    if system.transfer is not None:
        np.testing.assert_allclose(first, system.transfer(1j * W), rtol=1e-12)
    if response.shape[-1]:
        state_space = scipy.signal.StateSpace(*map(np.asarray, linear))
        a, b, c, d = (getattr(state_space, name) for name in "ABCD")
        for w, ours in zip(W, response, strict=True):
            exact = c @ np.linalg.solve(1j * w * np.eye(len(a)) - a, b) + d
            np.testing.assert_allclose(ours, exact, rtol=1e-11, atol=1e-14)
        if len(d) == d.shape[1] == 1:
            _, theirs = scipy.signal.freqresp(state_space, W)
            np.testing.assert_allclose(first, theirs, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::scipy.signal.BadCoefficients")
def test_a_linearization_names_its_rows_and_columns_and_is_a_system_of_scipy():
    machine = ag.linearize(SYSTEMS["a motor"].circuit, inputs=(0.0,))
    assert (machine.states, machine.inputs, machine.outputs) == (
        ("speed", "current"),
        ("voltage",),
        ("speed", "current"),
    )
    wide = ag.linearize(SYSTEMS["inputs in a vector"].circuit, inputs=(TWO,))
    assert (wide.states, wide.inputs) == (("y[0]", "y[1]", "y[2]"), ("u[0]", "u[1]"))
    # (0.01 s + 0.1) (0.5 s + 1) + 0.02^2
    exact = np.sort(np.roots([0.005, 0.06, 0.1004]))
    a, b, c, d = map(np.asarray, machine)
    poles = scipy.signal.StateSpace(a, b, c[:1], d[:1]).poles
    np.testing.assert_allclose(np.sort(poles), exact, rtol=1e-13)
    assert ag.linearize(GRID.trace()).states[:3] == (
        "register[0,0]",
        "register[0,1]",
        "register[1,0]",
    )
    spring = ag.linearize(SPRING, inputs=(0.0,))
    assert (spring.states[0], spring.inputs, spring.outputs) == ("x", ("f",), ("x",))
    assert ag.linearize(relaxation(), inputs=(0.0,)).inputs == ("input",)


def test_python_control_takes_a_linearization():
    control = pytest.importorskip("control")
    linear = ag.linearize(pendulum(), {"angle": np.pi}, inputs=(0.0,))
    names = {"states": linear.states, "inputs": linear.inputs, "outputs": linear.outputs}
    system = control.ss(*linear, **names)["angle", "torque"]
    exact = np.sort(np.roots([1.0, 0.1, -9.81]))
    np.testing.assert_allclose(np.sort(system.poles().real), exact, rtol=1e-13)
    ours = ag.frequency_response(pendulum(), W, at={"angle": np.pi}, inputs=(0.0,))
    np.testing.assert_allclose(system(1j * W), ours[:, 0, 0], rtol=1e-13)


def test_a_discrete_filter_answers_as_scipy_says():
    b, a = scipy.signal.butter(3, 0.3)

    @ag.circuit
    def filtered(u, *, b=b, a=a):
        held = [ag.delay("n") for _ in range(3)]  # the transposed direct form II
        y = b[0] * u + held[0]
        for k in range(3):
            following = held[k + 1] if k < 2 else 0.0
            held[k].input = b[k + 1] * u - a[k + 1] * y + following
        return y

    w = np.linspace(0.0, 3.0, 9)

    @jax.jit
    def both(circuit):
        linear = ag.linearize(circuit, inputs=(0.0,), calculus=ag.Discrete())
        return linear, ag.frequency_response(circuit, w, inputs=(0.0,), calculus=ag.Discrete())

    linear, response = both(filtered())
    np.testing.assert_allclose(response[:, 0, 0], scipy.signal.freqz(b, a, w)[1], atol=1e-14)
    numerator, denominator = scipy.signal.ss2tf(*map(np.asarray, linear))
    np.testing.assert_allclose(numerator[0], b, atol=1e-14)
    np.testing.assert_allclose(denominator, a, atol=1e-14)
    assert linear.discrete


def test_a_running_sum_adds_one_to_the_matrix_and_a_register_that_delays_does_not():
    for option, exact in (("sum", 0.5), ("delay", -0.5)):
        discrete = ag.Discrete(register=option)
        found = ag.linearize(relaxation(0.5), {"register": 3.0}, inputs=(2.0,), calculus=discrete)
        np.testing.assert_allclose(found.A, [[exact]])
        np.testing.assert_allclose(found.point.moves["register"], 3.0 * exact + 2.0)


def test_points_along_a_trajectory_are_stacked_and_its_state_is_its_last():
    ts = np.linspace(0.0, 2.0, 5)
    circuit, inputs = pendulum(), (jnp.sin,)

    @jax.jit
    def all_of(circuit):
        run = ag.simulate(circuit, ts, inputs=inputs, calculus=ag.Real(method=ag.Tsit5()))
        along = ag.linearize(circuit, run, inputs=inputs)
        last = ag.linearize(circuit, run.state, inputs=inputs)
        named = ag.linearize(circuit, {"angle": run["angle"]}, inputs=(0.0,))
        return run, along, last, named

    run, along, last, named = all_of(circuit)
    np.testing.assert_allclose(along.A[:, 1, 0], -9.81 * np.cos(run["angle"]), rtol=1e-14)
    np.testing.assert_allclose(along.point.inputs[0], np.sin(ts), rtol=1e-15)
    assert along.point.t.shape == (5,)
    assert along.C.shape == (5, 2, 2)
    np.testing.assert_allclose(named.A, along.A, rtol=1e-14)
    jax.tree.map(
        lambda x, rows: np.testing.assert_allclose(x, rows[-1], rtol=1e-14),
        (last.A, last.point),
        (along.A, along.point),
    )


def test_a_delay_by_several_samples_has_a_state_for_each():
    @ag.circuit
    def echo(u, *, gain=0.5):
        late = ag.delay("n", 1.0, by=3)
        y = u + gain * late**2
        late.input = y
        return y

    inputs, discrete = (ag.Samples(jnp.arange(1.0, 9.0)),), ag.Discrete()
    run = ag.simulate(echo(), range(6), inputs=inputs, calculus=discrete)
    found = ag.linearize(echo(), run.state, inputs=(0.0,), calculus=discrete)
    late = run.output[2]
    np.testing.assert_allclose(found.A, [[0, 0, late], [1, 0, 0], [0, 1, 0]], rtol=1e-15)
    w = np.linspace(0.1, 3.0, 5)
    point = {"at": run.state, "inputs": (0.0,), "calculus": discrete}
    answer = ag.frequency_response(echo(), w, **point)[:, 0, 0]
    np.testing.assert_allclose(answer, 1 / (1 - late * np.exp(-3j * w)), rtol=1e-13)
    rest = ag.equilibrium(echo(gain=0.25), inputs=(0.75,), calculus=discrete)
    y = rest.outputs[0]
    held = ag.linearize(echo(gain=0.25), rest, calculus=discrete)
    np.testing.assert_allclose(held.A[0], [0, 0, 0.5 * y], rtol=1e-12)


def test_a_sequence_goes_on_from_its_state():
    grow = (ag.Function(lambda x: x**2, 1) >> ag.Register("n", 0.1) >> ag.Split()).trace()
    run = ag.simulate(grow, range(4), calculus=ag.Discrete())
    found = ag.linearize(grow, run.state, calculus=ag.Discrete())
    np.testing.assert_allclose(found.A, [[1 + 2 * run.output[-1]]], rtol=1e-15)
    assert found.point.t == 3.0
    held = ag.Samples([1.0, 5.0, 7.0])
    driven = ag.linearize(relaxation(), t=1, inputs=(held,), calculus=ag.Discrete())
    assert driven.point.inputs == (5.0,)


def test_matrices_are_differentiable_and_map_over_circuits():
    def entry(gravity, angle):
        circuit = pendulum(gravity=gravity)
        return ag.linearize(circuit, {"angle": angle}, inputs=(0.0,)).A[1, 0]

    def peak(friction):
        circuit = ag.ode(motor, {"speed": 0.0, "current": 0.0}, friction=friction)
        return jnp.abs(ag.frequency_response(circuit, 2.0, inputs=(0.0,))[1, 0])

    @jax.jit
    def slopes(gravity, angle):
        grads = jax.vmap(jax.grad(entry, (0, 1)), (0, None))(gravity, angle)
        return grads, jax.grad(peak)(0.1), (peak(0.1 + 1e-6) - peak(0.1 - 1e-6)) / 2e-6

    gravity = jnp.array([9.81, 3.7])
    (first, second), slope, difference = slopes(gravity, 0.4)
    np.testing.assert_allclose(first, -np.cos(0.4) * np.ones(2), rtol=1e-14)
    np.testing.assert_allclose(second, gravity * np.sin(0.4), rtol=1e-14)
    np.testing.assert_allclose(slope, difference, rtol=1e-7)


def test_the_derivative_of_a_loop_is_differentiated_too():
    def entry(x):
        return ag.linearize(FEEDBACK, {"x": x}, inputs=(0.0,)).A[0, 0]

    slope, difference = jax.jit(
        lambda x: (jax.grad(entry)(x), (entry(x + 1e-5) - entry(x - 1e-5)) / 2e-5)
    )(0.7)
    np.testing.assert_allclose(slope, difference, rtol=1e-8)


def test_derivatives_of_states_and_other_dimensions_are_rows_of_the_matrix():
    rate = relaxation(2.0) >> ag.Split() >> ag.Id() @ ag.Deregister("t")
    found = ag.linearize(rate, inputs=(0.0,))
    np.testing.assert_allclose(found.C, [[1.0], [-2.0]])
    np.testing.assert_allclose(found.D, [[0.0], [1.0]])
    twice = rate >> ag.Id() @ ag.Deregister("t")
    with pytest.raises(ag.CircuitError, match="derivative of an input"):
        ag.linearize(twice, inputs=(0.0,))
    diffused = ag.linearize(heat([1.0, 0.0, 2.0, 5.0]), dim="t")
    np.testing.assert_allclose(diffused.A, np.diag([2.0, 6.0], k=2))


@ag.circuit
def ball(*, gravity=9.81):
    """A ball that bounces in air, and a switch that is on while it is above 1."""
    height, speed = ag.register("t", 1.0), ag.reset("t", 0.0)
    high = ag.relay(1.0, 1.0)
    high.input = height
    height.input = speed
    speed.input = (-gravity - 0.3 * speed - 2.0 * high, -height, -0.8 * speed)
    return {"height": height, "speed": speed, "high": high}


BETWEEN = np.array([[0.0, 1.0, 0.0], [0.0, -0.3, -2.0], [0.0, 0.0, 0.0]])


def test_sub_systems_have_their_own_names_and_the_order_of_the_text():
    system = ag.equations(
        """
        system mass(f, k) -> x { diff(x, t, 2) = f - k*x }
        a = mass(u - b, 1)
        b = mass(a, 2)
        """,
        inputs=("u",),
    )
    linear = ag.linearize(system, inputs=(0.0,))
    assert linear.states == ("a", "diff_a_x_t", "b", "diff_b_x_t")
    assert linear.outputs == ("a", "b")
    s = 0.7j
    one, two = 1 / (s**2 + 1), 1 / (s**2 + 2)
    found = ag.frequency_response(system, 0.7, inputs=(0.0,))[:, 0]
    np.testing.assert_allclose(found * (1 + one * two), [one, one * two], rtol=1e-12)


def test_atoms_with_events_are_linear_between_them():
    found = ag.linearize(ball(), {"height": -1.0})
    order = [found.states.index(name) for name in ("height", "speed", "high")]
    np.testing.assert_allclose(np.asarray(found.A)[np.ix_(order, order)], BETWEEN)


@pytest.mark.slow
def test_sequences_with_events_are_linear_between_them_and_states_of_runs_are_read():
    found = ag.linearize(ball(), {"height": -1.0}, calculus=ag.Discrete())
    order = [found.states.index(name) for name in ("height", "speed", "high")]
    np.testing.assert_allclose(np.asarray(found.A)[np.ix_(order, order)], np.eye(3) + BETWEEN)
    run = ag.simulate(ball(), [0.0, 0.2])
    later = ag.linearize(ball(), run.state).point.state
    for name in ("height", "speed", "high"):
        np.testing.assert_allclose(later[name], run[name][-1], rtol=1e-14)
    sequence = ag.simulate(ball(), range(3), calculus=ag.Discrete())
    later = ag.linearize(ball(), sequence.state, calculus=ag.Discrete()).point.state
    for name in ("height", "speed", "high"):
        np.testing.assert_allclose(later[name], sequence[name][-1], rtol=1e-14)


def test_a_loop_without_a_solution_is_not_converged_and_says_so():
    lost = (ag.Add() >> ag.Function(lambda z: z + 1 + z**2, 1) >> ag.Var("z") >> ag.Split()).trace()
    circuit = lost >> ag.Register("t", 1.0)
    found = ag.linearize(circuit, inputs=([1.0],), throw=False)
    assert found.status == ag.Status.not_converged
    assert np.isnan(found.B).all()
    with pytest.raises(ag.SimulationError, match="not_converged"):
        ag.linearize(circuit, inputs=([1.0],))


def test_a_value_that_is_not_finite_is_said_of_the_points_that_have_one():
    circuit = (
        ag.Function(jnp.log, 1) >> ag.Register("t", 1.0) >> ag.Var("x") >> ag.Split()
    ).trace()
    found = ag.linearize(circuit, {"x": [1.0, 0.0, 2.0]}, throw=False)
    assert (found.status == ag.Status.nonfinite).tolist() == [False, True, False]
    np.testing.assert_allclose(found.A[:, 0, 0], [1.0, np.nan, 0.5])
    with pytest.raises(ag.SimulationError, match="nonfinite in 1 of 3 runs"):
        ag.linearize(circuit, {"x": [1.0, 0.0, 2.0]})


def test_halves_stay_halves_and_what_has_no_state_has_a_direct_path():
    half = ag.linearize(cast(relaxation(2.0), jnp.float32), inputs=(jnp.float32(0.0),))
    assert {x.dtype for x in half} == {jnp.dtype("float32")}
    still = ag.Scalar(3.0)
    assert ag.frequency_response(still, 1.0, inputs=(0.0,)).tolist() == [[3.0 + 0.0j]]
    assert ag.linearize(still, inputs=(0.0,)).A.shape == (0, 0)


def test_noise_that_is_off_is_no_state():
    noisy = ag.sde(lambda t, x: -2.0 * x, lambda t, x: 0.1, 1.0)
    found = ag.linearize(noisy, calculus=ag.Real(noise="off"))
    np.testing.assert_allclose(found.A, [[-2.0]])
    with pytest.raises(ag.CircuitError, match="noise"):
        ag.linearize(noisy)


def linearized(*args, **options):
    return lambda: ag.linearize(*args, **options)


def answered(*args, **options):
    return lambda: ag.frequency_response(*args, **options)


def other():
    return ag.simulate(pendulum(), [0.0, 1.0], inputs=(0.0,))


def linearized_where_the_state_is_hidden():
    hidden = decay() >> ag.Scalar(2.0)
    return ag.linearize(hidden, ag.simulate(hidden, [0.0, 1.0]))


WRONG = {
    "no circuit": (linearized(3), "linearize takes a circuit"),
    "no circuit to answer": (answered(3, 1.0), "frequency_response takes a circuit"),
    "another calculus": (
        linearized(decay(), calculus=ag.Steady()),
        r"must be Real\(\) or Discrete",
    ),
    "an input too few": (linearized(relaxation()), "takes 1 input, but 0 were given"),
    "an unknown name": (linearized(decay(), {"x": 1.0}), "names 'x'.*registers are register"),
    "a state of another shape": (
        linearized(decay(), {"register": np.ones((2, 2))}),
        r"at\['register'\] must be an array of shape \(\)",
    ),
    "a state of words": (linearized(decay(), {"register": "x"}), "must be numbers"),
    "a complex state": (linearized(decay(), {"register": 1j}), "must be real"),
    "a point that is none": (linearized(decay(), 1.0), "at must be a dictionary"),
    "times that do not fit": (
        linearized(decay(), {"register": np.ones(3)}, t=[0.0, 1.0]),
        "different numbers of times: 2, 3",
    ),
    "a table of times": (linearized(decay(), t=np.ones((2, 2))), "t must be a time or times"),
    "a time of words": (linearized(decay(), t="now"), "t must be a number"),
    "half a sample": (linearized(decay(), t=0.5, calculus=ag.Discrete()), "number of a sample"),
    "the state of another run": (lambda: ag.linearize(decay(), other().state), None),
    "another trajectory": (
        lambda: ag.linearize(ag.Register("t"), other(), inputs=(0.0,)),
        None,
    ),
    "a hidden state": (linearized_where_the_state_is_hidden, "does not show 'register'"),
    "a complex wire": (linearized(decay(1j)), "a wire of this circuit is complex"),
    "a delay": (linearized(ag.Delay("t"), inputs=(0.0,)), "holds a whole piece of the past"),
    "a derivative of an input": (
        linearized(ag.Deregister("t"), inputs=(jnp.sin,)),
        "derivative of an input",
    ),
    "the next sample": (
        linearized(ag.Deregister("t"), inputs=(jnp.sin,), calculus=ag.Discrete()),
        "reads its next sample",
    ),
    "a stream over another dimension": (
        linearized(ag.Register("t"), inputs=(ag.Stream([1.0, 2.0], "x"),), dim="t"),
        "input 0 is a stream over x",
    ),
    "two times": (linearized(ag.Register("a") >> ag.Register("b"), inputs=(0.0,)), "by dim="),
    "frequencies of words": (answered(decay(), "low"), "w must be a number"),
    "complex frequencies": (answered(decay(), 1j), "w must be a real number"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_refused_before_anything_compiles(name):
    call, words = WRONG[name]
    with pytest.raises(ag.CircuitError, match=words):
        call()
