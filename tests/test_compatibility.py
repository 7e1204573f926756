"""Every kind of circuit under every transformation of JAX, in both dtypes and both kinds of run.

A kind is a circuit of one input and one output with its value as a closed form, or by SciPy. A
transformation takes a kind and asserts what comes out against that value or its derivatives. To add
a row, add a kind to `KINDS`, a transformation to `TRANSFORMATIONS` or a way to run to `RUNS`. The
table in docs/jit.md is made from these tests.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.linalg
from helpers import drawn, slow
from systems import Saturation, cast, relaxation

import asgard as ag

TIME = 0.25
PLACE = 0.5  # where circuits in a second dimension x are read
INPUT = 0.7


@dataclasses.dataclass(frozen=True)
class Kind:
    """A circuit with one output, the name of one of its parameters, and its output at `TIME`.

    `exact(parameter, input)` is the output where all else is as in `circuit`, and where the entries
    of a parameter that is an array are all moved by as much.
    """

    circuit: ag.Circuit
    parameter: str
    exact: Callable[[float, float], float]

    @property
    def value(self) -> float:
        """The parameter."""
        return float(ag.parameters(self.circuit)[self.parameter].ravel()[0])


class Relaxation(ag.Block):
    """x' = rate (u - x) from x = rate: one number in two places."""

    rate: jax.Array

    def circuit(self):
        minus = ag.Scalar(-jnp.ones_like(self.rate))
        balance = (ag.Id() @ minus) >> ag.Add() >> ag.Scalar(self.rate)
        return (balance >> ag.Register("t", self.rate) >> ag.Split()).trace()


class Network(eqx.Module):
    """A multilayer perceptron of two numbers."""

    layers: eqx.nn.MLP

    def __call__(self, u, x):
        return self.layers(jnp.stack([u, x]))


def _relaxed(rate, u):
    return np.exp(-rate * TIME) + u * (1 - np.exp(-rate * TIME)) / rate


def _nested():
    inner = relaxation(1.5, 0.3)
    balance = (ag.Id() @ ag.Scalar(-1.0)) >> ag.Add()
    return (balance >> inner >> ag.Register("t", 0.5) >> ag.Split()).trace()


def _nested_exact(minus_rate, u):
    # x' = u - y + minus_rate x, y' = x, and the input as a third state.
    matrix = np.array([[minus_rate, -1, 1], [1, 0, 0], [0, 0, 0]])
    return (scipy.linalg.expm(TIME * matrix) @ [0.3, 0.5, u])[1]


def _own_atom():
    loop = (Saturation(1.2) >> ag.Scalar(-1.0) >> ag.Register("t", 0.8) >> ag.Split()).trace()
    return (ag.Id() @ loop) >> ag.Multiplication()


def _own_atom_exact(limit, u):
    return u * limit * np.arcsinh(np.sinh(0.8 / limit) * np.exp(-TIME))


_NETWORK = Network(drawn(eqx.nn.MLP, 2, "scalar", 3, 1, activation=jnp.tanh, seed=1))


def _network():
    return (ag.Function(_NETWORK, 2) >> ag.Register("t", 0.4) >> ag.Split()).trace()


def _network_exact(bias, u):
    first, last = _NETWORK.layers.layers
    weight, offset = np.asarray(first.weight, float), np.asarray(first.bias, float)
    out = np.asarray(last.weight, float)

    def field(_, x):
        return out @ np.tanh(weight @ np.array([u, x[0]]) + offset) + bias

    options = {"rtol": 1e-13, "atol": 1e-14, "method": "DOP853"}
    return scipy.integrate.solve_ivp(field, (0, TIME), [0.4], **options).y[0, -1]


def _two_dimensions():
    second = ag.Deregister("x") >> ag.Deregister("x") >> ag.Scalar(0.6)
    start = ag.Register("t", ag.Stream([0.0, 0.0, 0.0, 1.0], "x"))
    return ((ag.Id() @ second) >> ag.Add() >> start >> ag.Split()).trace()


def _algebraic():
    orbit = (ag.Sin() >> ag.Scalar(0.4)) >> ag.Var("x")
    return ((ag.Id() @ orbit) >> ag.Add() >> ag.Split()).trace()


def _solved(slope, start):
    """The x with x = start + slope(x) for which slope(x) contracts."""
    x = start
    for _ in range(200):
        x = start + slope(x)
    return x


def _constrained():
    # y' = u - x with x + p x^3 = y.
    cubic = ag.Power(3) >> ag.Scalar(-0.02)
    solve = ((ag.Id() @ cubic) >> ag.Add() >> ag.Split()).trace()
    balance = (ag.Id() @ (solve >> ag.Scalar(-1.0))) >> ag.Add()
    return (balance >> ag.Register("t", 0.5) >> ag.Split()).trace()


def _constrained_exact(p, u):
    start = _solved(lambda x: p * x**3, 0.5)
    options = {"rtol": 1e-13, "atol": 1e-14, "method": "DOP853"}

    def field(_, x):
        return (u - x) / (1 - 3 * p * x**2)

    x = scipy.integrate.solve_ivp(field, (0, TIME), [start], **options).y[0, -1]
    return x - p * x**3


KINDS = {
    "atom": Kind(ag.Power(1.3), "power.exponent", lambda p, u: u**p),
    "composition": Kind(
        ag.Split() >> ((ag.Scalar(0.9) >> ag.Exp()) @ ag.Tanh()) >> ag.Multiplication(),
        "scalar.factor",
        lambda p, u: np.exp(p * u) * np.tanh(u),
    ),
    "trace": Kind(relaxation(1.1), "scalar.factor", lambda p, u: _relaxed(-p, u)),
    "nested trace": Kind(_nested(), "scalar[1].factor", _nested_exact),
    "own atom in a loop": Kind(_own_atom(), "saturation.limit", _own_atom_exact),
    "block": Kind(Relaxation(1.4), "rate", lambda p, u: u + (p - u) * np.exp(-p * TIME)),
    "network in a loop": Kind(_network(), "function.layers.layers[1].bias", _network_exact),
    "algebraic loop": Kind(
        _algebraic(), "scalar.factor", lambda p, u: _solved(lambda x: p * np.sin(x), u)
    ),
    "algebraic loop in a loop": Kind(_constrained(), "scalar[0].factor", _constrained_exact),
    "two dimensions": Kind(
        _two_dimensions(),
        "scalar.factor",
        # x^3 + 6 p t x + u t solves w_t = p w_xx + u.
        lambda p, u: PLACE**3 + 6 * p * TIME * PLACE + u * TIME,
    ),
    "deregister": Kind(
        relaxation(1.1) >> ag.Deregister("t"),
        "scalar.factor",
        lambda p, u: u + p * _relaxed(-p, u),
    ),
}


def by_series(circuit, u):
    """The output at `TIME` from one series."""
    output = ag.series(circuit, ag.Stream(u[None], "t"), order={"t": 12} | _places(circuit))
    points = {"t": TIME, "x": PLACE}
    return output.evaluate(**{dim: points[dim] for dim in output.dims})


def by_simulate(circuit, u):
    """The output at `TIME` from steps."""
    times = jnp.asarray([0.0, TIME], u.dtype)
    # Newton's method compiles fastest.
    calculus = ag.Real(order=12, max_steps=14, fixed_point=ag.FixedPoint("newton"))
    output = ag.simulate(circuit, times, inputs=(u,), calculus=calculus, dim="t").output[-1]
    return ag.Stream(output, "x").evaluate(x=PLACE) if output.ndim else output


INCREMENTS = (0.31, -0.22, 0.05, 0.4)
H = TIME / len(INCREMENTS)


def by_stochastic(circuit, u):
    """The output at `TIME` from four steps of Euler's method with known increments."""
    handed = {"W": jnp.asarray(INCREMENTS, u.dtype)}
    calculus = ag.Stochastic(steps=4, noise=handed, fixed_point=ag.FixedPoint("newton"))
    times = jnp.asarray([0.0, TIME], u.dtype)
    return ag.simulate(circuit, times, inputs=(u,), calculus=calculus).output[-1]


def by_discrete(circuit, u):
    """The sample after two."""
    times = jnp.asarray([0.0, 2.0], u.dtype)
    calculus = ag.Discrete(span=2, fixed_point=ag.FixedPoint("newton"))
    return ag.simulate(circuit, times, inputs=(u,), calculus=calculus).output[-1]


# The solution x = a / 2 of x = a - x, 1 -> 1.
HALF = (ag.Function(lambda a, x: a - x, 2) >> ag.Split()).trace()


class Level(ag.Block):
    """x' = level - x from x = level, which stays there."""

    level: jax.Array

    def circuit(self):
        balance = (ag.Const(self.level) @ ag.Scalar(-jnp.ones_like(self.level))) >> ag.Add()
        return (balance >> ag.Register("t", self.level) >> ag.Split()).trace()


def by_fit(circuit, u):
    """The level of a circuit after five steps of gradient descent that take its run towards u."""

    def loss(circuit, u):
        times = jnp.asarray([0.0, TIME], u.dtype)
        quick = ag.Real(order=4, rtol=1e-3, max_steps=8)
        return (ag.simulate(circuit, times, calculus=quick).output[-1] - u) ** 2

    found = ag.fit(circuit, loss, args=(u,), optimizer=optax.sgd(0.25), steps=5)
    return ag.parameters(found.circuit)["level"]


def _stochastic(after=ag.Id()):  # noqa: B008 - frozen
    parts = (ag.Scalar(0.6) >> after >> ag.Register("t", 1.0)) @ ag.StochasticRegister("t", "W")
    loop = (ag.Split() >> parts >> ag.Add() >> ag.Split()).trace()
    return (ag.Id() @ loop) >> ag.Multiplication()


def _discrete():
    balance = (ag.Id() @ (ag.Scalar(-0.4) >> HALF)) >> ag.Add()
    return (balance >> ag.Register("t", 1.0) >> ag.Split()).trace()


# Calculi of fixed steps, each with a kind whose steps are known.
STEPPED = {
    "stochastic": Kind(
        _stochastic(),
        "scalar.factor",
        lambda p, u: u * np.prod([1 + p * H + dw for dw in INCREMENTS]),
    ),
    "stochastic, a loop": Kind(
        _stochastic(HALF),
        "scalar.factor",
        lambda p, u: u * np.prod([1 + p / 2 * H + dw for dw in INCREMENTS]),
    ),
    "discrete": Kind(relaxation(0.4), "scalar.factor", lambda p, u: (1 + p) ** 2 + u * (2 + p)),
    "discrete, a loop": Kind(
        _discrete(),
        "scalar.factor",
        lambda p, u: (1 + p / 2) ** 2 + u * (2 + p / 2),
    ),
    # Each step halves the distance.
    "optimisation": Kind(Level(1.9), "level", lambda p, u: u + (p - u) / 2**5),
}
STEPPED_RUNS = {name: by_discrete if "discrete" in name else by_stochastic for name in STEPPED}
STEPPED_RUNS["optimisation"] = by_fit
# What is refused: reverse mode through a fit, whose steps are a while loop.
REFUSED = {("optimisation", name) for name in ("grad", "jit vmap grad", "optax")}


def _places(circuit):
    return {"x": 3} if "deregister(x)" in str(circuit) else {}


RUNS = {"series": by_series, "simulate": by_simulate}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A kind, a way to run it and a dtype, with the tolerances that follow."""

    kind: Kind
    run: Callable[..., jax.Array]
    dtype: str

    @property
    def circuit(self):
        return cast(self.kind.circuit, self.dtype)

    @property
    def input(self):
        return jnp.asarray(INPUT, self.dtype)

    def with_parameter(self, value):
        """The circuit with its parameter moved to a value."""
        leaf = ag.parameters(self.circuit)[self.kind.parameter]
        moved = leaf + jnp.asarray(value - self.kind.value, leaf.dtype)
        return ag.update(self.circuit, {self.kind.parameter: moved})

    def exact(self, value=None, u=INPUT):
        """The output that is known."""
        return self.kind.exact(self.kind.value if value is None else value, u)

    def slopes(self, value=None, u=INPUT):
        """The known output's derivatives to the parameter and the input, by differences."""
        value, step = self.kind.value if value is None else value, 1e-4
        return tuple(
            sum(w * f(k * step) for k, w in ((-2, 1), (-1, -8), (1, 8), (2, -1))) / (12 * step)
            for f in (lambda h: self.exact(value + h, u), lambda h: self.exact(value, u + h))
        )

    def parameter_slope(self, gradient):
        """The derivative to the parameter, from a circuit of derivatives."""
        leaf = ag.parameters(gradient)[self.kind.parameter]
        return np.sum(np.asarray(leaf), axis=tuple(range(-self._parameter_ndim, 0)))

    @property
    def _parameter_ndim(self):
        return ag.parameters(self.circuit)[self.kind.parameter].ndim

    def check(self, found, expected, slack=1.0):
        """Asserts a value, or values, to the dtype's precision."""
        rtol = slack * {"float32": 4e-6, "float64": 1e-12}[self.dtype]
        assert np.asarray(found).dtype == self.dtype
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)

    def check_slopes(self, gradients, value=None, u=INPUT):
        """Asserts derivatives to (circuit, input); differences are good to about 1e-11."""
        to_circuit, to_input = gradients
        expected = self.slopes(value, u)
        self.check(self.parameter_slope(to_circuit).astype(self.dtype), expected[0], slack=30)
        self.check(to_input, expected[1], slack=30)


def under_jit(cell):
    eager = jax.jit(cell.run)(cell.circuit, cell.input)
    cell.check(eager, cell.exact())


def under_grad(cell):
    cell.check_slopes(jax.grad(cell.run, argnums=(0, 1))(cell.circuit, cell.input))


def under_jacfwd(cell):
    cell.check_slopes(jax.jacfwd(cell.run, argnums=(0, 1))(cell.circuit, cell.input))


def under_vmap_over_inputs(cell):
    inputs = [0.2, 0.7, 1.3]
    found = jax.vmap(cell.run, in_axes=(None, 0))(cell.circuit, jnp.asarray(inputs, cell.dtype))
    cell.check(found, [cell.exact(u=u) for u in inputs])


def under_vmap_over_circuits(cell):
    values = [cell.kind.value, cell.kind.value * 1.25, cell.kind.value * 0.5]
    circuits = [cell.with_parameter(value) for value in values]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *circuits)
    found = jax.vmap(cell.run, in_axes=(0, None))(stacked, cell.input)
    cell.check(found, [cell.exact(value) for value in values])


def under_jit_vmap_grad(cell):
    inputs = [0.4, 1.3]
    run = jax.jit(jax.vmap(jax.grad(cell.run, argnums=(0, 1)), in_axes=(None, 0)))
    gradients = run(cell.circuit, jnp.asarray(inputs, cell.dtype))
    for lane, u in enumerate(inputs):
        cell.check_slopes(jax.tree.map(lambda leaf, i=lane: leaf[i], gradients), u=u)


def under_optax(cell):
    target = jnp.asarray(cell.exact() + 0.5, cell.dtype)
    optimizer = optax.sgd(0.05)

    def loss(circuit):
        return (cell.run(circuit, cell.input) - target) ** 2

    def step(carry, _):
        circuit, state = carry
        value, gradient = jax.value_and_grad(loss)(circuit)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(circuit, updates), state), value

    start = (cell.circuit, optimizer.init(cell.circuit))
    (fitted, _), losses = jax.jit(lambda start: jax.lax.scan(step, start, length=4))(start)
    cell.check(losses[0], 0.25, slack=10)
    assert np.all(np.diff(losses) < 0)
    assert jax.tree.structure(fitted) == jax.tree.structure(cell.circuit)


def under_export(cell):
    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(jax.jit(cell.run), platforms=platforms)(cell.circuit, cell.input)
    assert exported.platforms == platforms
    assert exported.mlir_module_serialized
    cell.check(exported.call(cell.circuit, cell.input), cell.exact())


TRANSFORMATIONS = {
    "jit": under_jit,
    "grad": under_grad,
    "jacfwd": under_jacfwd,
    "vmap over inputs": under_vmap_over_inputs,
    "vmap over circuits": under_vmap_over_circuits,
    "jit vmap grad": under_jit_vmap_grad,
    "optax": under_optax,
    "export": under_export,
}


# The others are made of these two: in single precision and of series they would show no more.
WHOLE = ("jit", "jit vmap grad")
ROUTES = [*((kind, run) for kind in KINDS for run in RUNS), *((name, name) for name in STEPPED)]
CELLS = [
    (name, *route, dtype)
    for name in TRANSFORMATIONS
    for route in ROUTES
    for dtype in ("float64", "float32")
    if name in WHOLE or (dtype == "float64" and route[1] != "series")
]


# The quick tier runs every transformation of a plain loop in time, and every kind under one that
# holds most of the others. Where that compiles for many seconds, the kind has a run alone.
PLAIN = ("trace", "simulate")
LONGEST = (
    "network in a loop",
    "two dimensions",
    "algebraic loop in a loop",
    "stochastic, a loop",
)


def is_quick(name, kind, run, dtype):
    """Whether a cell belongs to the quick tier."""
    if (kind, run) == PLAIN:
        return dtype == "float64" or name == "jit vmap grad"
    if dtype == "float32" or run == "series":
        return (name, kind, dtype) == ("jit vmap grad", "two dimensions", "float64")
    return name == ("jit" if kind in LONGEST else "jit vmap grad")


def _cases():
    return [cell if is_quick(*cell) else slow(*cell) for cell in CELLS]


@pytest.mark.parametrize(("transformation", "kind", "run", "dtype"), _cases())
def test_kinds_of_circuits_have_their_values_under(transformation, kind, run, dtype):
    cell = Cell((KINDS | STEPPED)[kind], (RUNS | STEPPED_RUNS)[run], dtype)
    if (kind, transformation) not in REFUSED:
        TRANSFORMATIONS[transformation](cell)
        return
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        TRANSFORMATIONS[transformation](cell)


# The rows of docs/jit.md, by the kind that shows each.
ROWS = {
    "simple atoms": "atom",
    "composition and monoidal": "composition",
    "trace with a register": "trace",
    "trace without a register": "algebraic loop",
    "stochastic": "stochastic",
    "discrete": "discrete",
    "optimisation (`ag.fit`)": "optimisation",
}
SHARDED = """
import sys
import jax
sys.path.insert(0, sys.argv[1])
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
import test_compatibility
test_compatibility.run_sharded()
"""


def run_sharded():
    """Prints the kinds of `ROWS` whose batch, spread over two devices, has its values there."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    whole, spread = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("batch")
    inputs = jnp.array([0.2, 0.7, 1.3, 0.4])
    for kind in ROWS.values():
        cell = Cell((KINDS | STEPPED)[kind], STEPPED_RUNS.get(kind, by_simulate), "float64")
        run = jax.vmap(cell.run, in_axes=(None, 0))
        options = {"mesh": mesh, "in_specs": (whole, spread), "out_specs": spread}
        run = jax.jit(jax.shard_map(run, **options))
        found = run(cell.circuit, inputs)
        assert len(found.sharding.device_set) == 2
        cell.check(found, [cell.exact(u=float(u)) for u in inputs])
        print(kind)
    _run_without_kernels(mesh, inputs)


def _run_without_kernels(mesh, inputs):
    """Programs that XLA cuts for several devices: these hold no kernel."""
    cell = Cell(KINDS["trace"], by_simulate, "float64")
    expected = [cell.exact(u=float(u)) for u in inputs]
    run, spread = jax.vmap(cell.run, in_axes=(None, 0)), jax.sharding.PartitionSpec("batch")
    placed = jax.device_put(inputs, jax.sharding.NamedSharding(mesh, spread))
    cell.check(jax.jit(run)(cell.circuit, placed), expected)
    exported = jax.export.export(jax.jit(run))(cell.circuit, inputs)
    cell.check(jax.jit(exported.call)(cell.circuit, placed), expected)
    # A mesh of which only one axis is cut by hand.
    whole = jax.sharding.PartitionSpec()
    two = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 1), ("batch", "other"))
    options = {"mesh": two, "in_specs": (whole, spread), "out_specs": spread}
    run = jax.shard_map(run, **options, axis_names={"batch"}, check_vma=False)
    cell.check(jax.jit(run)(cell.circuit, inputs), expected)


@pytest.fixture(scope="module")
def sharded():
    """The kinds that run sharded, by a process that has two devices."""
    command = [sys.executable, "-c", SHARDED, str(Path(__file__).parent)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.slow
def test_the_table_of_the_page_is_that_of_these_tests(sharded):
    columns = [name for name in TRANSFORMATIONS if name != "export"]
    lines = ["| | " + " | ".join([*columns, "sharding", "CPU", "GPU", "TPU"]) + " |"]
    lines.append("|:--" * (len(columns) + 5) + "|")
    tested = {(name, kind) for name, kind, _, _ in CELLS}
    for row, kind in ROWS.items():
        assert tested.issuperset((name, kind) for name in TRANSFORMATIONS)
        cells = ["no" if (kind, name) in REFUSED else "yes" for name in columns]
        # Each was exported for the three backends by the test of that name.
        exported = ["no" if (kind, "export") in REFUSED else "yes"] * 3
        cells += ["yes" if kind in sharded else "no", *exported]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    page = Path(__file__).parents[1] / "docs" / "jit.md"
    assert "\n".join(lines) in page.read_text(encoding="utf-8"), "\n".join(lines)
