"""Functions as circuits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations, drawn
from systems import FAST, cast, lotka_volterra

import asgard as ag
from asgard.circuits.graph import canonical, flatten

TS = [0.0, 0.5, 1.0]


@ag.circuit
def pendulum(torque, *, gravity=9.81, damping=0.1, start=1.0):
    """A pendulum with a torque."""
    angle, speed = ag.register("t", start), ag.register("t", 0.0)
    angle.input = speed
    speed.input = torque - gravity * jnp.sin(angle) - damping * speed
    return {"angle": angle, "speed": speed}


@ag.circuit
def pid(error, *, kp=2.0, ki=1.0):
    total = ag.register("t", 0.0)
    total.input = error
    return kp * error + ki * total


@ag.circuit
def lag(u, *, tau=0.5):
    x = ag.register("t", 0.0)
    x.input = (u - x) / tau
    return x


def simulate(circuit, *inputs, **keywords):
    return ag.simulate(circuit, TS, inputs=inputs, calculus=FAST, **keywords)


def test_a_function_is_a_block_of_wires_numbers_and_names():
    model = pendulum(gravity=9.7)
    assert isinstance(model, ag.Block)
    assert (model.n_in, model.n_out) == (1, 2)
    numbers = {"gravity": 9.7, "damping": 0.1, "start": 1.0}
    assert ag.parameters(model) == numbers
    assert list(ag.parameters(model)) == list(numbers)
    assert (str(model), repr(model)) == (
        "pendulum",
        "pendulum(gravity=9.7, damping=0.1, start=1.0)",
    )
    assert pendulum.__doc__ == "A pendulum with a torque."
    assert "gravity=9.81" in repr(pendulum)
    names = list(ag.parameters(ag.Const(0.0) >> model >> ag.Add() >> ag.Scalar(2.0)))
    assert names[1:] == ["pendulum.gravity", "pendulum.damping", "pendulum.start", "scalar.factor"]


def test_it_runs_as_the_circuit_wired_by_hand():
    @ag.circuit
    def system(*, a=0.55, b=0.028, c=0.8, d=0.024, x=34.0, y=5.9):
        prey, predator = ag.register("t", x), ag.register("t", y)
        prey.input = a * prey - b * prey * predator
        predator.input = -c * predator + d * prey * predator
        return {"prey": prey, "predator": predator}

    found, wired = simulate(system()), simulate(lotka_volterra())
    for name in ("prey", "predator"):
        np.testing.assert_allclose(found[name], wired[name], rtol=1e-9)
    assert found.stats["steps"] == wired.stats["steps"]


def test_other_numbers_need_no_compilation_and_no_trace():
    calls = []

    @ag.circuit
    def decay(*, rate=1.0):
        calls.append(rate)
        x = ag.register("t", 1.0)
        x.input = -rate * x
        return x

    simulate(decay())
    with compilations() as programs:
        trajectory = simulate(decay(rate=2.0))
    assert programs == []
    assert len(calls) == 1
    np.testing.assert_allclose(trajectory.output, np.exp(-2.0 * np.array(TS)), rtol=1e-7)


def test_gradients_go_to_numbers_and_to_what_the_function_closes_over():
    def end(model):
        return simulate(model)["x"][-1]

    def model(rate):
        @ag.circuit
        def decay(*, start=1.0):
            x = ag.register("t", start)
            x.input = -rate * x
            return {"x": x}

        return decay()

    @jax.jit
    def slopes(rate):
        return jax.grad(end)(model(2.0)), jax.grad(lambda rate: end(model(rate)))(rate)

    by_numbers, slope = slopes(2.0)
    assert ag.parameters(by_numbers) == pytest.approx({"start": np.exp(-2)})
    assert slope == pytest.approx(-np.exp(-2))


def test_numbers_may_be_constraints_arrays_networks_and_circuits():
    network = drawn(eqx.nn.MLP, 2, 2, 4, 1, activation=jnp.tanh)

    @ag.circuit
    def system(*, net=network, rate=ag.Positive(0.5), start=(1.0, 0.0), inner=pid(), on=True):
        assert on is True
        x = ag.register("t", start)
        x.input = net(x) - rate * x + inner(x[0])
        return x

    names = list(ag.parameters(system()))
    layers = [f"net.layers[{i}].{leaf}" for i in (0, 1) for leaf in ("weight", "bias")]
    assert names == [*layers, "rate", "start", "inner.kp", "inner.ki"]
    circuit = system(rate=ag.Positive(2.0))
    assert simulate(circuit).output.shape == (3, 2)
    with pytest.raises(ag.CircuitError, match="above 0"):
        ag.update(circuit, {"rate": -1.0})
    moved = jax.tree.map(lambda leaf: leaf, circuit)
    assert jax.tree.structure(moved) == jax.tree.structure(system())


def test_what_a_function_is_given_by_keyword_is_read_by_name():
    @ag.circuit
    def system(u, *, network, rate, on):
        return u

    network = drawn(eqx.nn.MLP, 1, 1, 2, 1)
    given = system(network=network, rate=ag.Positive(0.5), on=True).keywords
    assert eqx.tree_equal(given, {"network": network, "rate": jnp.asarray(0.5), "on": True})


def test_circuits_are_called_on_wires_and_put_together_like_functions():
    @ag.circuit
    def loop(reference, *, controller=pid(), system=lag()):
        y = ag.unknown()
        y.input = system(controller(reference - y))
        return {"y": y}

    difference = ag.Id() @ ag.Scalar(-1.0) >> ag.Add()
    wired = (difference >> pid() >> lag() >> ag.Split()).trace()
    found = simulate(loop(), 1.0)["y"]
    np.testing.assert_allclose(found, simulate(wired, 1.0).output, rtol=1e-9)
    # The lag's register cuts the loop, so there is none to solve.
    assert "iterations" not in simulate(loop(), 1.0).stats


def test_atoms_blocks_and_terms_are_called_on_wires():
    class Tide(ag.Atom):
        height: jax.Array
        n_in = n_out = 1
        coordinates = ("t",)

        def __call__(self, t, x):
            return x + self.height * jnp.sin(t)

    @ag.circuit
    def system(u, *, height=2.0):
        t = ag.Coordinate("t")()
        one, other = ag.Split()(ag.Var("named")(u * t))
        level = ag.Register("t", 1.0)(Tide(height)(ag.Scalar(ag.Positive(3.0))(one)))
        return level, (ag.Add() >> ag.Register("t") >> ag.Split()).trace()(other), ag.Id()(u)

    found = simulate(system(), 1.0)
    t = np.array(TS)
    np.testing.assert_allclose(found["named"], t)
    np.testing.assert_allclose(found.outputs[0], 1 + 1.5 * t**2 + 2 - 2 * np.cos(t), rtol=1e-7)
    np.testing.assert_allclose(found.outputs[1], np.exp(t) - 1 - t, rtol=1e-7)  # x' = t + x
    np.testing.assert_allclose(found.outputs[2], 1.0)


def test_jax_code_works_on_wires():
    network = drawn(eqx.nn.MLP, 3, 3, 4, 1, activation=jnp.tanh)

    def field(x):
        y = jnp.where(x > -5.0, jax.nn.softplus(x), -x) + jax.vmap(jnp.sin)(x)
        z = jax.lax.cond(x[0] > -5.0, lambda x: x, jnp.square, x) @ (jnp.eye(3) + x[:, None])
        return y - jnp.tanh(z) - network(x).at[0].set(x[2])

    @ag.circuit
    def system(*, start=(0.1, 0.2, 0.3)):
        x = ag.register("t", start)
        x.input = field(x)
        return x

    start = jnp.array([0.1, 0.2, 0.3])
    wired = (ag.Function(field, 1) >> ag.Register("t", start) >> ag.Split()).trace()
    # Steps of Euler's compile fastest.
    options = {"calculus": ag.Stochastic(steps=4), "key": jax.random.key(0)}
    found = [ag.simulate(c, TS, **options).output for c in (system(), wired)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_one_function_says_wires_of_any_type():
    @ag.circuit
    def scaled(u, *, gain=2.0):
        return gain * jnp.sum(u)

    assert simulate(scaled(), 3.0).output[0] == 6.0
    values = jnp.stack([jnp.ones(4)] * 3)
    held = ag.Samples(values, TS)
    assert simulate(scaled(), held).output[0] == 8.0
    stacked = ag.Function(lambda u: jnp.stack([u, u]), 1)
    # In a term a block's wires have the types of what drives them, before it and in loops.
    assert simulate(stacked >> scaled(), 3.0).output[0] == 12.0
    single = ag.Stream(jnp.ones(2, "float32"), "t")
    assert ag.series(cast(scaled(), "float32"), single, order=1).coefficients.dtype == "float32"


def test_a_default_says_what_a_wire_carries():
    @ag.circuit
    def plant(u=jnp.zeros(2), *, b=((1.0, 2.0), (3.0, 4.0))):
        return b @ u

    assert (plant() >> ag.Id()).n_out == 1
    held = ag.Samples(jnp.ones((3, 2)), TS)
    np.testing.assert_allclose(simulate(plant(), held).output[0], [3.0, 7.0])

    @ag.circuit
    def untyped(u, *, b=((1.0, 2.0), (3.0, 4.0))):
        return b @ u

    with pytest.raises(ag.CircuitError, match=r"u: taken for a number .* as in u=jnp.zeros\(3\)"):
        untyped()


def test_states_widen_to_what_feeds_them():
    @ag.circuit
    def wave(*, frequencies=jnp.array([1.0, 2.0])):
        psi = ag.register("t", 1.0)
        psi.input = -1j * frequencies * psi
        return psi

    found = simulate(wave()).output
    np.testing.assert_allclose(found[-1], np.exp(-1j * np.array([1.0, 2.0])), rtol=1e-7)


def test_an_unknown_starts_from_its_guess():
    @ag.circuit
    def root(y, *, guess=-1.0):
        x = ag.unknown(guess)
        x.input = x - (x**2 - y) / (2 * x)
        return x

    for guess in (-1.0, 1.0):
        assert simulate(root(guess=guess), 2.0).output[0] == pytest.approx(guess * np.sqrt(2))
    wired = ag.Scalar(2.0) >> ag.Cos() >> ag.Unknown(0.7) >> ag.Split()
    assert ag.parse(str(wired)) == wired
    assert simulate(wired.trace()).output[0] == pytest.approx(0.5149332646611294)


def test_every_calculus_and_transformation_runs_it():
    stream = ag.series(lag(), ag.Stream([1.0, 0.0, 0.0], "t"), order=2)
    np.testing.assert_allclose(stream.coefficients, [0.0, 2.0, -2.0])
    runs = jax.vmap(lambda tau: simulate(lag(tau=tau), 1.0).output[-1])(jnp.array([0.5, 1.0]))
    np.testing.assert_allclose(runs, 1 - np.exp([-2.0, -1.0]), rtol=1e-7)
    fn, y0, _ = ag.vector_field(pendulum(), (0.0,))
    assert y0.keys() == {"angle", "speed"}
    assert fn(0.0, y0)["speed"] == pytest.approx(-9.81 * np.sin(1.0))

    @ag.circuit
    def sums(u):
        f, g = ag.register("n", 1.0), ag.delay("n", 3.0)
        f.input = f + u
        g.input = f
        return f, g

    found = ag.simulate(sums(), range(4), inputs=(0.0,), calculus=ag.Discrete())
    np.testing.assert_allclose(found.outputs, [[1.0, 2.0, 4.0, 8.0], [3.0, 1.0, 2.0, 4.0]])


def test_no_traced_value_outlives_its_trace():
    @ag.circuit
    def system(u, *, a=1.0):
        x = ag.register("t", a)
        x.input = ag.Sin()(u) - (ag.Sin() >> ag.Cos())(ag.Coordinate("t")() * x)
        return x

    with jax.checking_leaks():
        assert system().n_out == 1


def test_two_expansions_of_one_function_have_one_graph():
    assert canonical(pendulum()) == canonical(pendulum())
    assert canonical(pendulum()) != canonical(pendulum(gravity=1.0))
    assert flatten(pendulum()).names.keys() == {"angle", "speed"}
    assert ag.parse("composition(lag, sin)", names={"lag": lag()}) == lag() >> ag.Sin()
