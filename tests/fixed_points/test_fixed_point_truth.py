"""A fixed point is found to the dtype's last digits, or said not to be, at any scale."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_both_modes, slow

import asgard as ag
from asgard.fixed_points.linear import DENSE

METHODS = ("auto", "picard", "newton")
EPS = np.finfo(np.float64).eps
ONE = ag.Stream([1.0], "t")


def loop(fn):
    """x = fn(a, x), with a from outside: 1 -> 1."""
    return (ag.Function(fn, 2) >> ag.Var("x") >> ag.Split()).trace()


def two(fn):
    """(x, y) = fn(a, x, y): 1 -> 2."""
    joined = ag.Function(fn, 3, 2) >> ag.Var("x") @ ag.Var("y")
    return (joined >> ag.Split() @ ag.Split() >> ag.Permute((0, 2, 1, 3))).trace(2)


def value(circuit, a, **options):
    stream = ag.Stream(jnp.asarray(a)[..., None], "t")
    found = ag.series(circuit, stream, order=0, fixed_point=ag.FixedPoint(**options))
    return found.coefficients[..., 0]


@pytest.mark.parametrize("method", [slow("auto"), "newton"])
def test_a_search_without_a_direction_is_no_solution(method):
    # x = b + x - roll(x): GMRES finds nothing in the space that the right-hand side spans.
    b = jnp.zeros(DENSE + 1).at[0].set(1.0)
    with pytest.raises(ag.SimulationError, match="not_converged"):
        value(loop(lambda b, x: b + x - jnp.roll(x, 1)), b, method=method, max_steps=6)


@pytest.mark.slow
def test_derivatives_without_a_jacobian_keep_their_digits_where_a_loop_contracts_slowly():
    count, rate = DENSE + 1, 0.99
    weights = np.random.default_rng(0).normal(size=count)
    slow = loop(lambda b, x: b - rate * jnp.roll(x, 1))

    def run(b):
        return value(slow, b, method="picard", rtol=1e-12, max_steps=100_000) @ weights

    matrix = np.eye(count) + rate * np.roll(np.eye(count), 1, axis=0)
    exact = np.linalg.solve(matrix.T, weights)
    np.testing.assert_allclose(jax.grad(run)(jnp.ones(count)), exact, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("fn", "unknowns"),
    [
        (lambda a, x: 1.1 * x + a, 1),
        (lambda a, x: 3 * jnp.roll(x, 1) - x + a, 12),
        (lambda a, x: jnp.roll(x, 1) + a, 20),
    ],
)
def test_picards_method_finds_nothing_where_it_does_not_contract(fn, unknowns):
    """The steps grow with x, to infinity in the second case, or stay of one size."""
    with pytest.raises(ag.SimulationError, match="not_converged"):
        value(loop(fn), jnp.linspace(1.0, 2.0, unknowns), method="picard")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("size", "dtype"), [(1e-20, "f4"), slow(1e25, "f4"), (1e-170, "f8")])
def test_the_scale_of_the_numbers_does_not_matter(size, dtype, method):
    halves = loop(lambda a, x: a + jnp.array([0.5, -0.5], a.dtype) * x)
    found = value(halves, jnp.full(2, size, dtype), method=method) / size
    np.testing.assert_allclose(found, [2.0, 2 / 3], rtol=8 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("method", METHODS)
def test_a_small_wire_beside_a_large_one_is_solved_to_its_own_digits(method):
    circuit = two(lambda a, x, y: (1e10 + 1e-3 * jnp.cos(y), jnp.cos(y) + 1e-20 * x))
    how = ag.FixedPoint(method, guess={"x": 1e10 + 7.39e-4, "y": 0.739084})
    _, y = ag.series(circuit, ONE, order=0, fixed_point=how)
    np.testing.assert_allclose(y.coefficients, 0.7390851332151607, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_small_wire_without_a_solution_is_not_hidden_by_a_large_one(method):
    circuit = two(lambda a, x, y: (1e10 + 1e-3 * jnp.cos(y), y + (y - 1) ** 2 + 1e-10 + 0 * x))
    with pytest.raises(ag.SimulationError, match="not_converged"):
        ag.series(circuit, ONE, order=0, fixed_point=ag.FixedPoint(method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("a", "dtype"), [(-1e-14, "f8"), slow(1e-14, "f8"), slow(-5e-6, "f4")])
def test_small_steps_in_one_direction_are_not_rounding(a, dtype, method):
    gain = loop(lambda a, x: a + x)
    with pytest.raises(ag.SimulationError, match="not_converged"):
        value(gain, jnp.asarray(a, dtype), method=method, guess={"x": jnp.ones((), dtype)})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "fn",
    [
        pytest.param(lambda a, x: x + a * jnp.exp(-x), id="at infinity"),
        pytest.param(lambda a, x: jnp.sqrt(x * x + a), id="nowhere"),
        pytest.param(lambda a, x: x - (x - a) ** 2, id="a double root"),
    ],
)
def test_a_solution_that_rounding_makes_is_none(fn, method):
    with pytest.raises(ag.SimulationError, match="not_converged"):
        value(loop(fn), 1.5, method=method)


def one_of(*functions):
    """The function that the input counts to, so that all are one program."""
    return lambda a, x: jax.lax.select_n(a.astype(int), *(fn(x) for fn in functions))


SCALAR = {
    "every number": lambda x: x,
    "every number, up to rounding": lambda x: 0.1 * x + 0.9 * x,
    "x from 0 on": jnp.abs,
    "x up to 0": lambda x: -jnp.abs(x),
    "an interval": lambda x: jnp.clip(x, 0.0, 1.0),
}
VECTOR = {
    "a line": lambda x: jnp.array([[0.5, 0.3], [0.5, 0.7]]) @ x,
    "one free entry": lambda x: jnp.array([0.5, 1.0]) * x + 1e-3 * x[0],
}


@pytest.mark.parametrize("method", METHODS)
def test_one_of_infinitely_many_solutions_is_none(method):
    scalar, vector = (loop(one_of(*cases.values())) for cases in (SCALAR, VECTOR))
    many = loop(lambda a, x: jnp.where(jnp.arange(20) < 3, x, x / 2 + a))
    cases = [(scalar, n, guess) for n in range(len(SCALAR)) for guess in (0.0, 0.5, -1.5, 2.0)]
    cases += [(vector, n, jnp.array(x)) for n in range(2) for x in ([0.0, 0.0], [0.2, 0.8])]
    for circuit, n, guess in [*cases, (many, 1, jnp.zeros(20))]:
        with pytest.raises(ag.SimulationError, match="not_converged"):
            value(circuit, float(n), method=method, guess={"x": guess})


@pytest.mark.parametrize("method", METHODS)
def test_a_solution_alone_is_solved_at_a_kink_and_with_an_infinite_slope(method):
    kinks = (lambda x: jnp.abs(x) / 2, jnp.sqrt, lambda x: jnp.maximum(0, x / 2 - 1))
    for n in range(3):
        assert value(loop(one_of(*kinks)), float(n), method=method) == 0


@pytest.mark.parametrize("method", ["auto", "newton"])
def test_unlike_scales_of_the_unknowns_are_no_singular_jacobian(method):
    turn = loop(lambda a, x: jnp.array([[0.0, 1e5], [-1e-5, 0.0]]) @ x + a)
    found = value(turn, jnp.ones(2), method=method)
    np.testing.assert_allclose(found, [(1 + 1e5) / 2, (1 - 1e-5) / 2], rtol=1e-13)


CALCULI = {
    "real": (ag.Real(order=6), {}),
    "discrete": (ag.Discrete(), {}),
    "stochastic": (ag.Stochastic(steps=2), {"key": jax.random.key(0)}),
}


@pytest.mark.parametrize("calculus", ["real", slow("discrete"), "stochastic"])
def test_infinitely_many_solutions_end_a_run_with_a_status(calculus):
    how, options = CALCULI[calculus]
    free = loop(lambda a, x: jnp.abs(x) + 0 * a)
    inside = (free >> ag.Register("t", 1.0) >> ag.Split()).trace()
    behind = ag.Const(1.0) >> ag.Register("t", 0.0) >> free
    run = ag.simulate(inside @ behind, [0.0, 1.0, 2.0], calculus=how, throw=False, **options)
    assert run.status == ag.Status.not_converged
    assert np.isnan(run.outputs[0][1:]).all()
    assert np.isnan(run.outputs[1][1:]).all()


def test_a_loop_that_fails_is_not_hidden_by_one_of_its_name():
    def affine(gain):
        return ((ag.Const(1.0) @ ag.Scalar(gain)) >> ag.Add() >> ag.Split()).trace()

    inside = ag.Substitution(affine(1.0), ag.Scalar(1.0), "t")
    with pytest.raises(ag.SimulationError, match="not_converged"):
        ag.series(inside @ affine(0.5), order={"t": 1})


def test_a_singular_jacobian_at_the_guess_is_left_by_a_step_of_picards():
    root = loop(lambda a, x: x - (x * x - a) / 4)
    np.testing.assert_allclose(value(root, 2.0, method="newton"), np.sqrt(2), rtol=2 * EPS)


@pytest.mark.parametrize("guess", [2.5, 1.3, -0.5])
def test_newtons_method_goes_on_from_the_guess_where_picards_steps_lead_away(guess):
    # x exp(x) = 4. Far below 0 all steps are of one size, and Newton's lead away from the solution.
    product = loop(lambda a, x: x - (x * jnp.exp(x) - a))
    found = value(product, 4.0, guess={"x": guess})
    np.testing.assert_allclose(found, 1.2021678731970429, rtol=4 * EPS)


@pytest.mark.parametrize("method", ["auto", "newton"])
def test_a_small_difference_of_large_numbers_is_solved_from_beside_its_solution(method):
    """A residual of rounding is that of the numbers, far above the resolution of the solution.

    The charges of a weak acid and of a base give the concentration x of protons.
    """
    water, strength, acid = 1e-14, 1.8e-5, 0.1
    protons = np.geomspace(1e-6, 1e-3, 60)
    base = acid * strength / (strength + protons) - protons + water / protons
    charges = loop(lambda b, x: water / x + acid * strength / (strength + x) - b)

    def solved(base, guess):
        return value(charges, base, method=method, guess={"x": guess})

    guesses = protons * (1 + np.tile([0.0, 4e-16, -1e-15], 20))
    found = jax.jit(jax.vmap(solved))(base, guesses)
    # What rounding of the numbers moves it by, divided by the slope of their difference.
    slope = 1 + water / protons**2 + acid * strength / (strength + protons) ** 2
    allowed = 4 * EPS * (protons + acid / slope)
    assert (np.abs(found - protons) <= allowed).all(), found


def test_a_value_of_no_numbers_is_solved():
    assert value(loop(lambda a, x: a + x / 2), jnp.zeros(0)).shape == (0,)


def test_a_loop_is_solved_for_the_wire_that_has_a_name():
    # At pi the sine is 0 and E is not: solved for the sine, it looked for digits that E has not.
    kepler = ag.equations("E = t + 0.9*sin(E)", inputs=("t",))
    ts = jnp.linspace(0.0, 2 * jnp.pi, 201)
    found = ag.simulate(kepler, ts, inputs=(lambda t: t,), calculus=ag.Steady())["E"]
    np.testing.assert_allclose(found - 0.9 * jnp.sin(found), ts, rtol=0, atol=4 * EPS * np.pi)


def test_a_guess_may_name_wires_off_the_loop_too():
    circuit = ag.Scalar(2.0) >> ag.Var("x") >> loop(lambda a, x: a + x / 2)
    np.testing.assert_allclose(value(circuit, 1.0, guess={"x": 1.0}), 4.0, rtol=2 * EPS)


def test_a_parameter_that_is_nan_is_no_lack_of_convergence():
    circuit = ((ag.Id() @ ag.Scalar(jnp.nan)) >> ag.Add() >> ag.Split()).trace()
    assert np.isnan(value(circuit, 1.0))


def test_a_looser_tolerance_takes_fewer_turns_and_keeps_to_it():
    cosine = (ag.Cos() >> ag.Split()).trace()
    turns = []
    for rtol in (1e-3, 1e-6, 1e-9):
        how = ag.FixedPoint("picard", rtol=rtol)
        run = ag.simulate(cosine, [0.0, 1.0], calculus=ag.Real(fixed_point=how))
        assert EPS < abs(run.output[0] - 0.7390851332151606) / 0.739 < rtol
        turns.append(int(run.stats["iterations"]))
    # cos contracts by 0.674 a turn.
    np.testing.assert_allclose(np.diff(turns), np.log(1e-3) / np.log(0.674), atol=2)


def test_a_gradient_takes_ten_iterations_or_ten_thousand_in_one_program():
    def run(b, rate):
        slow = loop(lambda b, x: b + rate * x)
        how = {"method": "picard", "rtol": 1e-6, "max_steps": 100_000}
        return jnp.sum(value(slow, b, **how))

    gradient = jax.jit(jax.grad(run)).lower(jnp.ones(50), 0.5).compile()
    analysis = gradient.memory_analysis()
    assert analysis is not None
    # Less than 10 rows, let alone 10,000, besides the factors of the Jacobian.
    assert analysis.temp_size_in_bytes < 8 * (4 * 50**2 + 10 * 50) + 4096
    for rate in (0.5, 0.999):
        np.testing.assert_allclose(gradient(jnp.ones(50), rate), 1 / (1 - rate), rtol=1e-9)


# --- under Real ---


def folding(initial):
    """y' = 1, and x with x = x + (1 - y - x^2) / 4, which has a solution while y <= 1."""
    fold = loop(lambda y, x: x + (1 - y - x * x) / 4)
    return (ag.Const(1.0) >> ag.Register("t", initial)) >> fold


def test_a_gradient_before_a_solution_ends_is_that_of_forward_mode():
    how = ag.FixedPoint("newton", guess={"x": 1.0})

    def run(initial):
        calculus = ag.Real(max_steps=32, fixed_point=how)
        found = ag.simulate(folding(initial), np.linspace(0, 2, 9), throw=False, calculus=calculus)
        return found.output[1]

    # x = sqrt(1 - y) with y = initial + t.
    exact = -0.5 / np.sqrt(1 - 0.05 - 0.25)
    slopes = jax.jit(lambda initial: (jax.grad(run)(initial), jax.jacfwd(run)(initial)))(0.05)
    np.testing.assert_allclose(slopes, [exact, exact], rtol=1e-10)


@pytest.mark.slow
def test_the_state_has_one_derivative_with_the_guesses_in_it():
    def run(factor):
        orbit = ag.Sin() >> ag.Scalar(factor) >> ag.Var("x")
        solve = ((ag.Id() @ orbit) >> ag.Add() >> ag.Split()).trace()
        circuit = (solve >> ag.Scalar(-1.0) >> ag.Register("t", 1.0) >> ag.Split()).trace()
        calculus = ag.Real(max_steps=64, fixed_point=ag.FixedPoint("newton"))
        return ag.simulate(circuit, [0.0, 1.0], calculus=calculus).state.point.state

    _, forward, reverse = jax.jit(functools.partial(in_both_modes, run))(0.5)
    assert forward.shape == (2, 1)
    np.testing.assert_allclose(reverse, forward, rtol=1e-10)
