"""Loops that no register cuts: values, derivatives, and what is said where they fail."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import closed, slow
from systems import cast

import asgard as ag
from asgard.fixed_points.methods.method import Method, Proposal

EPS = np.finfo(np.float64).eps
METHODS = ("auto", "picard", "newton")
GAIN_ONE = (ag.Add() >> ag.Split()).trace()


def loop(fn, n_in=1):
    """The x with x = fn(*inputs, x)."""
    return (ag.Function(fn, n_in) >> ag.Var("x") >> ag.Split()).trace()


def constant(value):
    return ag.Stream(jnp.asarray(value)[..., None], "t")


def value(circuit, *inputs, **options):
    """The output of constant inputs."""
    order = 0 if inputs else {}
    how = ag.FixedPoint(**options)
    found = ag.series(circuit, *map(constant, inputs), order=order, fixed_point=how)
    assert isinstance(found, ag.Stream)
    return found.coefficients[..., 0] if inputs else found.coefficients


def kepler(e):
    """The x with x = M + e sin x, 1 -> 1."""
    orbit = (ag.Sin() >> ag.Scalar(e)) >> ag.Var("x")
    return ((ag.Id() @ orbit) >> ag.Add() >> ag.Split()).trace()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", slow("float32")])
def test_a_contraction_is_solved_to_the_last_digits(method, dtype):
    cosine = loop(lambda a, x: jnp.cos(a * x), 2)
    halved = cast(((ag.Id() @ ag.Scalar(0.5)) >> ag.Add() >> ag.Split()).trace(), dtype)
    one = jnp.ones((), dtype)
    eps = np.finfo(dtype).eps
    found = value(cosine, one, method=method)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, 0.7390851332151606, rtol=2 * eps)
    np.testing.assert_allclose(value(halved, 0.3 * one, method=method), 0.6, rtol=2 * eps)


def test_a_loop_without_inputs_is_solved():
    np.testing.assert_allclose(value(closed(ag.Cos())), 0.7390851332151606, rtol=2 * EPS)


@pytest.fixture(scope="module")
def orbits():
    """Eccentricities, mean anomalies, the eccentric ones by bisection, and what rounding allows."""
    e, m = (x.ravel() for x in np.meshgrid(np.linspace(0, 0.99, 100), np.linspace(0, 6.28, 100)))
    wide_e, wide_m = e.astype(np.longdouble), m.astype(np.longdouble)
    low, high = wide_m - 1, wide_m + 1
    for _ in range(70):
        middle = (low + high) / 2
        past = middle - wide_e * np.sin(middle) > wide_m
        low, high = np.where(past, low, middle), np.where(past, middle, high)
    # Rounding of M and of e sin E is magnified by the inverse of the slope.
    scale = np.abs(low) + (EPS + wide_m + wide_e) / (1 - wide_e * np.cos(low))
    return e, m, low, scale


@pytest.mark.parametrize("method", ["auto", "newton"])
def test_keplers_equation_is_solved_on_a_grid_up_to_an_eccentricity_of_99_percent(orbits, method):
    e, m, exact, scale = orbits
    found = jax.vmap(lambda e, m: value(kepler(e), m, method=method))(e, m)
    assert np.max(np.abs(np.asarray(found) - exact) / scale) < 2 * EPS


@pytest.mark.slow
def test_a_random_contraction_of_a_hundred_wires_is_solved():
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(100, 100)) / 25
    wires = ag.Function(lambda *x: tuple(jnp.tanh(weights @ jnp.stack(x)) + 0.1), 100, 100)
    streams = ag.series(closed(wires), order={})
    assert isinstance(streams, tuple)
    found = np.stack([stream.coefficients for stream in streams])
    exact = np.zeros(100)
    for _ in range(500):
        exact = np.tanh(weights @ exact) + 0.1
    np.testing.assert_allclose(found, exact, rtol=0, atol=8 * EPS)


@pytest.mark.parametrize("method", METHODS)
def test_a_vector_is_solved_by_all_methods(method):
    matrix = np.random.default_rng(2).normal(size=(30, 30)) / 18
    affine = loop(lambda b, x: b + matrix @ x, 2)
    b = np.linspace(1.0, 2.0, 30)
    exact = np.linalg.solve(np.eye(30) - matrix, b)
    np.testing.assert_allclose(value(affine, b, method=method), exact, rtol=1e-13)


@pytest.mark.slow
def test_more_unknowns_than_a_jacobian_is_formed_for_are_solved_without_it():
    shifts = np.linspace(0.0, 1.0, 600)
    # Strong and antisymmetric: no contraction.
    rough = loop(lambda b, x: b + 2.0 * (jnp.roll(x, 1) - jnp.roll(x, -1)) - x**3, 2)

    def solved(b):
        return value(rough, b, method="newton")

    found = solved(shifts)
    around = shifts + 2.0 * (np.roll(found, 1) - np.roll(found, -1)) - found**3
    np.testing.assert_allclose(found, around, atol=1e-13)
    gradient = jax.grad(lambda b: jnp.sum(solved(b) ** 2))(shifts)
    step = 1e-5 * np.cos(np.arange(600))
    difference = (jnp.sum(solved(shifts + step) ** 2) - jnp.sum(solved(shifts - step) ** 2)) / 2
    np.testing.assert_allclose(gradient @ step, difference, rtol=1e-8)


def test_complex_loops_are_solved():
    # z = a + z^2 / 4, of which z = 2 - 2 sqrt(1 - a) is the root near 0.
    quadratic = loop(lambda a, z: a + z * z / 4, 2)
    a = 0.4 + 0.3j
    np.testing.assert_allclose(value(quadratic, a), 2 - 2 * np.sqrt(1 - a), rtol=4 * EPS)
    conjugate = loop(lambda a, z: a + 0.5j * jnp.conj(z), 2)
    # z - (i / 2) conj(z) = a, as two real equations.
    x, y = np.linalg.solve([[1.0, -0.5], [-0.5, 1.0]], [0.4, 0.3])
    np.testing.assert_allclose(value(conjugate, a, method="newton"), x + 1j * y, rtol=4 * EPS)


def test_loops_in_loops_are_solved_as_one():
    inner = ((ag.Id() @ (ag.Sin() >> ag.Scalar(0.4))) >> ag.Add() >> ag.Split()).trace()
    outer = ((ag.Id() @ ag.Scalar(0.3)) >> ag.Add() >> inner >> ag.Split()).trace()
    x = value(outer, 0.5)
    np.testing.assert_allclose(0.7 * x - 0.4 * np.sin(x), 0.5, rtol=4 * EPS)
    text = str(jax.make_jaxpr(lambda u: value(outer, u))(0.5))
    assert text.count("asgard_fixed_point") == 1


def test_the_unknowns_of_a_ring_are_one_wire():
    ring = closed(ag.Composition(*[ag.Cos()] * 20))
    equations = jax.make_jaxpr(lambda: value(ring))()
    (solve,) = [one for one in _equations(equations.jaxpr) if "fixed_point" in one.primitive.name]
    assert solve.params["call"].unknowns == 1


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for parameter in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def test_a_step_of_the_implicit_midpoint_rule_is_a_circuit():
    h = 0.1
    # y1 = y0 + h f((y0 + y1) / 2) of y' = -y^3.
    slope = ag.Scalar(0.5) >> ag.Power(3) >> ag.Scalar(-h)
    middle = ag.Split() @ ag.Id() >> ag.Id() @ (ag.Add() >> slope)
    step = (middle >> ag.Add() >> ag.Split()).trace()

    @jax.jit
    def run(y):
        return jax.lax.scan(lambda y, _: (value(step, y), y), y, length=20)[0]

    exact = 1.0
    for _ in range(20):
        roots = np.roots(
            [h / 8, 3 * h / 8 * exact, 1 + 3 * h / 8 * exact**2, h / 8 * exact**3 - exact]
        )
        exact = float(roots[np.abs(roots.imag) < 1e-9].real[0])
    np.testing.assert_allclose(run(1.0), exact, rtol=1e-13)


def test_a_guess_chooses_the_solution_and_gives_the_shape():
    square = loop(lambda a, x: x - (x * x - a) / 4, 2)
    np.testing.assert_allclose(value(square, 2.0, guess={"x": 1.0}), np.sqrt(2), rtol=2 * EPS)
    minus = value(square, 2.0, guess={"x": -1.0}, method="newton")
    np.testing.assert_allclose(minus, -np.sqrt(2), rtol=2 * EPS)
    several = value(closed(ag.Cos() >> ag.Var("x")), guess={"x": jnp.zeros(3)})
    np.testing.assert_allclose(several, np.full(3, 0.7390851332151606), rtol=2 * EPS)


def test_damping_tames_what_does_not_contract():
    steep = loop(lambda a, x: a - 1.5 * x, 2)
    found = value(steep, 1.0, method="picard", damping=0.5)
    np.testing.assert_allclose(found, 0.4, rtol=4 * EPS)


@pytest.mark.parametrize("seed", [0, slow(1), slow(7)])
def test_rounding_is_not_mistaken_for_a_slow_contraction(seed):
    rng = np.random.default_rng(seed)
    b = rng.uniform(-1, 1, 100)
    matrix = rng.uniform(-1, 1, (100, 100))
    matrix *= 0.4 / np.abs(np.linalg.eigvals(matrix)).max()
    # Errors fall by 0.4, so below the resolution in log(eps) / log(0.4) = 39.3 turns, and a few as
    # the matrix is not normal. After that steps are rounding, which falls no more.
    found = value(loop(lambda b, x: b + matrix @ x, 2), b, method="picard", max_steps=43)
    np.testing.assert_allclose(found, np.linalg.solve(np.eye(100) - matrix, b), atol=16 * EPS)


# --- derivatives ---


def root(a, e):
    """The x with x = a + e sin x, to many digits."""
    return mp.findroot(lambda x: x - a - e * mp.sin(x), a)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_those_of_the_implicit_function(method):
    def run(a, e):
        return value(kepler(e), a, method=method)

    a, e = 0.7, 0.4
    x = float(root(a, e))
    slope = 1 / (1 - e * np.cos(x))
    kinds = (jax.grad, jax.jacfwd, jax.jacrev)
    for found in jax.jit(lambda *at: [kind(run, (0, 1))(*at) for kind in kinds])(a, e):
        np.testing.assert_allclose(found, [slope, np.sin(x) * slope], rtol=1e-13)


def test_second_derivatives_are_those_of_the_implicit_function():
    def run(a, e):
        return value(kepler(e), a)

    with mp.workdps(40):
        exact = {n: float(mp.diff(root, (0.7, 0.4), n)) for n in ((2, 0), (1, 1), (0, 2))}
    kinds = jax.hessian(run, (0, 1)), jax.jacrev(jax.jacrev(run, (0, 1)), (0, 1))
    for (aa, ae), (ea, ee) in jax.jit(lambda *at: [kind(*at) for kind in kinds])(0.7, 0.4):
        expected = [exact[n] for n in ((2, 0), (1, 1), (1, 1), (0, 2))]
        np.testing.assert_allclose([aa, ae, ea, ee], expected, rtol=1e-11)


def test_gradients_pass_through_nested_loops():
    def run(e, gain):
        inner = kepler(e)
        outer = ((ag.Id() @ ag.Scalar(gain)) >> ag.Add() >> inner >> ag.Split()).trace()
        return value(outer, 0.5)

    def exact(e, gain):
        return mp.findroot(lambda x: x - mp.mpf("0.5") - gain * x - e * mp.sin(x), 0.5)

    with mp.workdps(30):
        expected = [float(mp.diff(exact, (0.4, 0.3), n)) for n in ((1, 0), (0, 1))]
    np.testing.assert_allclose(jax.jit(jax.grad(run, (0, 1)))(0.4, 0.3), expected, rtol=1e-10)


def test_gradients_of_each_lane_are_its_own():
    e = jnp.linspace(0.0, 0.9, 7)

    def one(e, a=0.7):
        return value(kepler(e), a)

    @jax.jit
    def batches(e):
        total = jax.grad(lambda e: jnp.sum(jax.vmap(one)(e)))(e)
        grid = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(e, jnp.asarray([0.2, 0.7]))
        return jax.vmap(jax.grad(one))(e), total, grid

    alone = jax.jit(jax.value_and_grad(one))
    values, slopes = np.transpose([alone(each) for each in e])
    of_lanes, total, grid = batches(e)
    np.testing.assert_allclose(of_lanes, slopes, rtol=1e-13)
    np.testing.assert_allclose(total, of_lanes, rtol=1e-13)
    np.testing.assert_allclose(grid[:, 1], values, rtol=4 * EPS)


@pytest.mark.parametrize("unknowns", [1, slow(3), slow(20)])
def test_the_reverse_pass_holds_no_loop_over_iterations(unknowns):
    matrix = jnp.eye(unknowns) / 3
    affine = loop(lambda b, x: b + jnp.tanh(matrix @ x), 2)

    def run(b):
        return jnp.sum(value(affine, b, method="picard"))

    b = jnp.ones(unknowns)
    pulled = jax.make_jaxpr(lambda b: jax.vjp(run, b)[1](1.0))(b)
    found, back = jax.vjp(run, b)
    assert np.isfinite(found)
    reverse = {one.primitive.name for one in _equations(jax.make_jaxpr(back)(1.0).jaxpr)}
    assert "while" not in reverse
    assert "asgard_fixed_point" not in reverse
    solves = [one for one in _equations(pulled.jaxpr) if "fixed_point" in one.primitive.name]
    assert len(solves) == 1


# --- what is said where there is no solution ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "circuit",
    [
        pytest.param(GAIN_ONE, id="gain one"),
        pytest.param(loop(lambda a, x: x * x + a, 2), id="no root"),
        pytest.param(loop(lambda a, x: a + jnp.sqrt(x - 2), 2), id="nan at the guess"),
    ],
)
def test_a_loop_without_a_fixed_point_ends_and_says_so(circuit, method):
    with pytest.raises(
        ag.SimulationError, match=r"the loop through .* (misses|is not finite)"
    ) as raised:
        value(circuit, 1.0, method=method)
    assert raised.value.status == "not_converged"
    assert "guess" in str(raised.value)


def test_a_gain_of_one_is_no_fixed_point_at_any_tolerance():
    circuit = loop(lambda a, x: a + x, 2)
    for method in METHODS:
        for start in (0.0, 1e6):
            options = {"rtol": 1e-3, "method": method}
            with pytest.raises(ag.SimulationError):
                value(circuit, 1.0, guess={"x": start}, **options)


def test_too_few_steps_are_no_convergence():
    with pytest.raises(ag.SimulationError, match="after 5 steps"):
        value(closed(ag.Cos()), method="picard", max_steps=5)


def test_nothing_raises_under_a_trace_and_the_value_is_nan():
    assert np.isnan(jax.jit(lambda a: value(GAIN_ONE, a))(1.0))


def test_each_lane_converges_or_fails_by_itself():
    quadratic = loop(lambda a, x: a + x * x, 2)
    a = jnp.asarray([0.1, 1.0, 0.2, jnp.nan])
    run = jax.jit(jax.vmap(lambda a: value(quadratic, a)))
    found = run(a)
    np.testing.assert_allclose(found[:3:2], (1 - np.sqrt(1 - 4 * a[:3:2])) / 2, rtol=8 * EPS)
    assert np.isnan(found[1::2]).all()
    # What is done stays as it is: a lane has the same bits beside any other.
    assert found[0] == run(a[:1])[0]


def test_nan_that_comes_in_goes_out_without_an_error():
    assert np.isnan(value(kepler(0.3), jnp.nan))


# --- options ---


def test_nothing_compiles_again_where_numbers_change():
    traces = []

    def counted(a, x):
        traces.append(1)
        return a + 0.5 * jnp.sin(x)

    circuit = loop(counted, 2)
    value(circuit, 0.3, guess={"x": 0.0})
    count = len(traces)
    for options in ({"rtol": 1e-5}, {"atol": 1e-4}, {"max_steps": 77}, {"damping": 0.8}):
        value(circuit, 0.4, guess={"x": 1.0}, **options)
    assert len(traces) == count
    value(circuit, 0.4, guess={"x": 1.0}, method="newton")
    assert len(traces) > count


class Relaxed(Method):
    """Half of Picard's steps, of which each is at most half of the one before."""

    def start(self, z):
        return None

    def evaluated(self, equations, now):
        return None

    def propose(self, equations, now):
        step = now.residual / 2
        size = equations.scale.measure(step, now.z, now.z + step)
        failed = ~jnp.isfinite(size)
        return Proposal(step, size, size, ~failed, ~failed, failed), None


def test_a_method_is_a_class_that_a_user_can_write():
    found = value(closed(ag.Cos()), method=Relaxed())
    np.testing.assert_allclose(found, 0.7390851332151606, rtol=4 * EPS)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "bisection"}, "method must be one of auto, picard, newton"),
        ({"rtol": -1.0}, "rtol must be at least 0"),
        ({"atol": "small"}, "atol must be a number"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"max_steps": 1.5}, "max_steps must be an integer"),
        ({"damping": 0.0}, "damping must be above 0"),
        ({"damping": [0.5, 0.5]}, "damping must be a number"),
        ({"guess": {"x": "near"}}, r"guess\['x'\] must be a number"),
    ],
)
def test_malformed_options_are_refused_with_a_reason(options, message):
    with pytest.raises(ag.CircuitError, match=message):
        ag.FixedPoint(**options)


def test_guesses_of_unknown_wires_are_refused_by_name():
    with pytest.raises(ag.CircuitError, match="guess names y; the circuit's named wires are x"):
        value(kepler(0.3), 1.0, guess={"y": 1.0})
    before = ag.Scalar(2.0) >> ag.Var("before") >> kepler(0.3)
    with pytest.raises(ag.CircuitError, match="guess names before, which is on no loop"):
        value(before, 1.0, guess={"before": 1.0})


def test_a_loop_whose_shape_grows_is_refused():
    with pytest.raises(ag.CircuitError, match="shape of a value in the loop"):
        value(loop(lambda a, x: a + jnp.stack([x, x]), 2), 1.0)
