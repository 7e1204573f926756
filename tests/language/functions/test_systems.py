"""Systems by their right-hand sides."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations
from systems import FAST, lorenz, lorenz_field

import asgard as ag
from asgard.circuits.graph import flatten

TS = [0.0, 0.5, 1.0]
KEY = jax.random.key(0)
STEPS = ag.Stochastic(steps=8)


def swing(t, y, torque, *, gravity=9.81):
    return {"angle": y["speed"], "speed": torque - gravity * jnp.sin(y["angle"])}


def growth(t, y, *, rate=0.1):
    return jax.tree.map(lambda x: rate * x, y)


class Field(eqx.Module):
    rate: jax.Array
    order: int = eqx.field(static=True, default=1)

    def __call__(self, t, y):
        return -self.rate * y**self.order


def path(circuit):
    return ag.simulate(circuit, TS, calculus=STEPS, key=KEY)


def test_an_ode_has_a_named_output_for_each_leaf_and_the_numbers_of_its_function():
    model = ag.ode(swing, {"angle": 1.0, "speed": 0.0}, gravity=9.7)
    assert (str(model), model.n_in, model.n_out) == ("swing", 1, 2)
    assert ag.parameters(model) == {"y0.angle": 1.0, "y0.speed": 0.0, "gravity": 9.7}
    found = ag.simulate(model, TS, inputs=(0.0,), calculus=FAST)
    energy = found["speed"] ** 2 / 2 - 9.7 * jnp.cos(found["angle"])
    np.testing.assert_allclose(energy, energy[0], rtol=1e-7)


def test_an_ode_runs_as_the_circuit_wired_by_hand():
    said = ag.ode(lambda t, y: lorenz_field(y), jnp.ones(3))
    runs = [ag.simulate(circuit, TS, calculus=FAST) for circuit in (said, lorenz())]
    np.testing.assert_allclose(runs[0]["y"], runs[1].output, rtol=1e-12)
    assert runs[0].stats["steps"] == runs[1].stats["steps"]


def test_an_ode_compiles_once_for_one_function():
    ag.simulate(ag.ode(growth, 1.0), TS, calculus=FAST)
    with compilations() as programs:
        found = ag.simulate(ag.ode(growth, 2.0, rate=-1.0), TS, calculus=FAST)
    assert programs == []
    np.testing.assert_allclose(found["y"], 2.0 * np.exp(-np.array(TS)), rtol=1e-7)


def test_the_arrays_of_a_module_are_numbers_and_the_rest_is_structure():
    model = ag.ode(Field(jnp.array(2.0)), 1.0)
    assert ag.parameters(model) == {"fn.rate": 2.0, "y0": 1.0}
    found = ag.simulate(model, TS, calculus=FAST)
    np.testing.assert_allclose(found["y"], np.exp(-2 * np.array(TS)), rtol=1e-7)
    slope = jax.jit(jax.grad(lambda c: ag.simulate(c, TS, calculus=FAST)["y"][-1]))(model)
    assert ag.parameters(slope)["fn.rate"] == pytest.approx(-np.exp(-2), rel=1e-6)
    with compilations() as programs:
        ag.simulate(ag.ode(Field(jnp.array(3.0)), 1.0), TS, calculus=FAST)
    assert programs == []
    square = ag.simulate(ag.ode(Field(jnp.array(1.0), 2), 1.0), TS, calculus=FAST)
    np.testing.assert_allclose(square["y"], 1 / (1 + np.array(TS)), rtol=1e-7)


def test_leaves_are_named_by_their_paths():
    names = {
        "y": 1.0,
        "x": {"x": 1.0},
        "x_a, x_b": {"x": {"a": 1.0, "b": jnp.ones(2)}},
        "y_0, y_1_v": (1.0, {"v": 1.0}),
        "rate": Field(jnp.array(1.0)),
    }
    for expected, y0 in names.items():
        assert ", ".join(flatten(ag.ode(lambda t, y: y, y0)).names) == expected
    with pytest.raises(ag.CircuitError, match="two leaves that would be named a_b"):
        ag.ode(lambda t, y: y, {"a": {"b": 1.0}, "a_b": 1.0})


def test_sources_name_the_noises_of_leaves_in_the_order_of_y0():
    def rates(t, y):
        return {"x": y["x"], "a": 2.0 * y["a"]}

    model = ag.sde(rates, rates, {"x": 1.0, "a": 1.0}, source=("W", "V"))
    paths = {"W": jnp.zeros(100), "V": jnp.full(100, 0.01)}
    drawn = ag.Stochastic(steps=100, noise=paths)
    found = ag.simulate(model, [0.0, 1.0], calculus=drawn)
    assert found["a"][-1] > 2 * found["x"][-1]


def test_outputs_are_in_the_order_of_y0_and_a_list_may_be_returned_for_a_tuple():
    def hunt(t, y):
        return {"prey": y["hunter"], "hunter": y["prey"]}

    for circuit in (
        ag.ode(hunt, {"prey": 1.0, "hunter": 2.0}),
        ag.recurrence(hunt, {"prey": 1.0, "hunter": 2.0}),
        ag.sde(hunt, hunt, {"prey": 1.0, "hunter": 2.0}),
    ):
        graph = flatten(circuit)
        named = [graph.names[name][0] for name in ("prey", "hunter")]
        assert list(graph.outputs) == named
    for y0 in ([1.0, 0.0], (1.0, 0.0)):
        for rate in (
            lambda t, y: (y[1], -y[0]),
            lambda t, y: [y[1], -y[0]],
            lambda t, y: jnp.stack([y[1], -y[0]]),
        ):
            assert list(flatten(ag.ode(rate, y0)).names) == ["y_0", "y_1"]


def test_time_and_inputs_are_read_and_a_list_is_an_array():
    model = ag.ode(lambda t, y, u, v=jnp.zeros(2): [t + u, v[0]], jnp.zeros(2))
    assert model.n_in == 2
    inputs = (1.0, ag.Samples(jnp.ones((3, 2)), TS))
    found = ag.simulate(model, TS, inputs=inputs, calculus=FAST)["y"]
    np.testing.assert_allclose(found[-1], [1.5, 1.0], rtol=1e-7)


def test_a_recurrence_is_one_of_delays():
    fibonacci = ag.recurrence(lambda n, y: (y[1], y[0] + y[1]), (0, 1))
    found = ag.simulate(fibonacci, range(8), calculus=ag.Discrete())["y_0"]
    np.testing.assert_array_equal(found, [0, 1, 1, 2, 3, 5, 8, 13])
    factorial = ag.recurrence(lambda n, y, u, *, scale=1.0: scale * (n + 1) * y + u, 1.0, scale=2.0)
    found = ag.simulate(factorial, range(4), inputs=(0.0,), calculus=ag.Discrete())["y"]
    np.testing.assert_array_equal(found, [1, 2, 8, 48])


def test_diagonal_noise_is_that_of_a_circuit_wired_by_hand():
    drift = ag.Scalar(0.1) >> ag.Register("t", 1.0)
    noise = ag.Scalar(0.3) >> ag.StochasticRegister("t", "W")
    wired = (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace()
    said = ag.sde(growth, lambda t, y, *, volatility=0.3: volatility * y, 1.0)
    assert list(ag.parameters(said)) == ["y0", "rate", "volatility"]
    np.testing.assert_allclose(path(said)["y"], path(wired).output, rtol=1e-12)


def test_leaves_have_sources_of_their_own_or_named_ones():
    def sources(**keywords):
        circuit = ag.sde(growth, growth, {"x": 1.0, "y": jnp.ones(2)}, **keywords)
        return [
            node.atom.noise
            for node in flatten(circuit).nodes
            if isinstance(node.atom, ag.StochasticRegister)
        ]

    assert sources() == ["W_x", "W_y"]
    assert sources(source=("V", "U")) == ["V", "U"]
    assert sources(noise="scalar", source="V") == ["V", "V", "V"]


@pytest.mark.parametrize("source", ["W", ("W", "V", "U")])
def test_matrix_noise_adds_up_its_processes(source):
    matrix = jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])
    still = ag.sde(
        lambda t, y: 0 * y, lambda t, y: matrix, jnp.zeros(2), noise="matrix", source=source
    )
    # The increments are handed in.
    given = np.arange(6.0).reshape(2, 3)
    noise = {"W": given} if source == "W" else dict(zip(source, given.T, strict=True))
    calculus = ag.Stochastic(steps=1, noise=noise)
    found = ag.simulate(still, TS, calculus=calculus)["y"]
    np.testing.assert_allclose(found, np.cumsum([[0, 0], *(given @ matrix.T)], 0), rtol=1e-12)


def test_noise_with_an_axis_more_is_matrix_noise():
    message = r"diffusion is of shape \(2, 3\), and y of shape \(2,\): only noise=\"matrix\" has"
    with pytest.raises(ag.CircuitError, match=message):
        ag.sde(lambda t, y: -y, lambda t, y: jnp.ones((2, 3)), jnp.zeros(2))


def test_scalar_noise_drives_all_entries():
    drift = {"x": jnp.array([1.0, 2.0]), "y": 3.0}
    said = ag.sde(growth, lambda t, y: jax.tree.map(lambda x: 0.3 * x, y), drift, noise="scalar")
    found = path(said)
    assert found["y"][-1] != pytest.approx(3 * np.exp(0.1))
    for entry, factor in zip(found["x"].T, (1 / 3, 2 / 3), strict=True):
        np.testing.assert_allclose(entry, factor * found["y"], rtol=1e-12)


@ag.circuit
def _uncalled():
    return ag.register("t")


WRONG = {
    r"ode: fn must be a function, not 1.0": lambda: ag.ode(1.0, 1.0),
    r"ode: ode takes the time and y": lambda: ag.ode(lambda y: y, 1.0),
    r"ode takes \(y, t\), but the time comes first: \(t, y\)": lambda: ag.ode(lambda y, t: -y, 1.0),
    r"takes \(x, n\), but the time": lambda: ag.recurrence(lambda x, n: 2 * x, 1.0),
    r"simulate runs a circuit, not <_uncalled\(\), which gives a circuit when called>": (
        lambda: ag.simulate(_uncalled, [0.0])
    ),
    r"ode returns \(\*, \*\), but y is \*": lambda: ag.ode(lambda t, y: (y, y), 1.0),
    r"ode returns \*, but y is \{'a': \*\}": lambda: ag.ode(lambda t, y: y["a"], {"a": 1.0}),
    r"holds a value of shape \(2,\)": lambda: ag.ode(lambda t, y: jnp.ones(3), jnp.ones(2)),
    r"ode returns \[\*, \*, \*\], but y is \(\*, \*\)": lambda: ag.ode(
        lambda t, y: [*y, 1.0], (1.0, 1.0)
    ),
    r"a is an input wire, .* after \*, as in \(…, \*, a\)": lambda: ag.ode(
        lambda t, y, a: y, 1.0, a=2.0
    ),
    r"did you mean rate\?": lambda: ag.ode(growth, 1.0, rte=1.0),
    r"a has no default": lambda: ag.ode(lambda t, y, *, a: y, 1.0),
    r"cannot be named y0": lambda: ag.ode(lambda t, y, *, y0=1.0: y, 1.0),
    r"growth and swing take other inputs": lambda: ag.sde(growth, swing, 1.0),
    r"noise must be": lambda: ag.sde(growth, growth, 1.0, noise="white"),
    r"a noise is named by": lambda: ag.sde(growth, growth, 1.0, source="W 1"),
    r"names 2 noises, but y has 3 leaves": lambda: ag.sde(
        growth, growth, (1.0, 1.0, 1.0), source=("W", "V")
    ),
    r"names 2 noises, but diffusion is of shape \(3,\)": lambda: ag.sde(
        growth, lambda t, y: jnp.ones(3), 1.0, noise="matrix", source=("W", "V")
    ),
    r"ode: y0 holds 'y', which is no number": lambda: ag.ode(growth, {"x": "y"}),
    r"ode: y0 holds nothing": lambda: ag.ode(growth, ()),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("message", WRONG)
def test_what_is_no_system_is_refused(message):
    with pytest.raises(ag.CircuitError, match=message):
        WRONG[message]()


@pytest.mark.parametrize("noise", ["diagonal", "matrix"])
def test_a_path_has_the_dtype_of_its_start(noise):
    def diffusion(t, y):
        return 0.5 * y[:, None] if noise == "matrix" else 0.5 * y

    circuit = ag.sde(lambda t, y: 0.1 * y, diffusion, jnp.ones(2, jnp.float32), noise=noise)
    assert path(circuit)["y"].dtype == jnp.float32


def test_a_partial_of_equinox_is_a_right_hand_side_without_what_it_was_given():
    def rates(scale, t, y, u, *, decay, floor):
        return scale * u - decay * y + floor

    model = ag.ode(eqx.Partial(rates, jnp.array(2.0), decay=jnp.array(3.0)), 1.0, floor=0.5)
    assert (model.n_in, list(ag.parameters(model))[2:]) == (1, ["y0", "floor"])
    end = ag.simulate(model, [0.0, 40.0], inputs=(1.0,), calculus=FAST)["y"][-1]
    np.testing.assert_allclose(end, 2.5 / 3, rtol=1e-6)
