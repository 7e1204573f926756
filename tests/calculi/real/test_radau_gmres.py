"""Radau's steps without a matrix: what GMRES solves is what factors solve."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_both_modes

import asgard as ag

# A square grid of so many points a side, between edges that are held at 0.
SIDE = 8


def spread(u):
    """The second differences of a grid `[side, side]`, by the width of a square of size 1."""
    side = len(u)
    p = jnp.pad(u, 1)
    around = p[2:, 1:-1] + p[:-2, 1:-1] + p[1:-1, 2:] + p[1:-1, :-2]
    return (side + 1) ** 2 * (around - 4 * u)


def wave(number, side=SIDE):
    """A sine on the points of one side."""
    return np.sin(number * np.pi * np.arange(1, side + 1) / (side + 1))


def rate(number, side=SIDE):
    """By what `spread` multiplies it."""
    return -4 * (side + 1) ** 2 * np.sin(number * np.pi / 2 / (side + 1)) ** 2


def heat(start, speed=1.0, react=0.0):
    """u' = speed spread(u) - react u³ from a grid."""
    side = len(start)

    def field(t, y):
        return (speed * spread(y.reshape(side, side))).reshape(-1) - react * y**3

    return ag.ode(field, jnp.asarray(start).reshape(-1))


def by_sines(speed):
    """(I - scale J)^-1 exactly, for J = speed spread."""
    sines = np.stack([wave(k) for k in range(1, SIDE + 1)])
    rates = np.array([rate(k) for k in range(1, SIDE + 1)])
    rates = rates[:, None] + rates

    def solve(time, state, scale, vector):
        parts = jnp.sum(sines[:, :, None] * vector.reshape(SIDE, SIDE), axis=1)
        parts = jnp.sum(parts[:, None] * sines, axis=2) / (1 - scale * speed * rates)
        back = jnp.sum(sines[:, :, None] * parts, axis=1)
        back = jnp.sum(back[:, None] * sines, axis=2)
        return (back * (2 / (SIDE + 1)) ** 2).reshape(-1)

    return solve


def solver(linear, stages=3, **options):
    options = {"rtol": 1e-7, "atol": 1e-9, "max_steps": 1000, **options}
    return ag.Real(method=ag.Radau(stages, linear=linear), **options)


START = np.outer(wave(1), wave(2)) + np.outer(wave(3), wave(5))
# y³ and a start that no symmetry keeps from any of it.
BENT = 1.0 + START


def test_heat_in_two_dimensions_is_the_closed_form():
    end = 0.05
    parts = [(1, 2), (3, 5)]
    exact = sum(np.outer(wave(a), wave(b)) * np.exp((rate(a) + rate(b)) * end) for a, b in parts)
    run = ag.simulate(heat(START), [0.0, end], calculus=solver(ag.GMRES(), 5))
    np.testing.assert_allclose(run.output[-1].reshape(SIDE, SIDE), exact, atol=1e-8)
    # Explicit steps must be shorter than 3 / |rate| each.
    assert run.stats["steps"] < 60


def energy(numbers, linear, stages=3):
    """A number of what is left, by the speed, the reaction and the size of the start."""
    speed, react, size = numbers
    circuit = heat(size * BENT, speed, react)
    run = ag.simulate(circuit, [0.0, 0.1], calculus=solver(linear, stages), throw=False)
    return jnp.sum(run.output[-1] ** 2), run.status == ag.Status.ok


NUMBERS = jnp.array([1.0, 2.0, 1.5])


@functools.cache
def gradient(kind, stages):
    """The function of the numbers to their `energy`, whether the run was ok, and the gradient; one
    program for all tests that ask for it."""
    if (kind, stages) == ("plain", 3):
        return lambda x: both_modes()(x)[:2]
    kinds = {"factors": lambda x: None, "plain": lambda x: ag.GMRES(), "preconditioned": by_speed}

    def number(x):
        return energy(x, kinds[kind](x), stages)

    return jax.jit(jax.value_and_grad(number, has_aux=True))


@functools.cache
def both_modes():
    """The same of "plain" with three stages, and the gradient in forward mode."""

    @jax.jit
    def run(x):
        found, forward, reverse, ok = in_both_modes(
            lambda x: energy(x, ag.GMRES()), x, has_aux=True
        )
        return (found[0], ok), reverse[0], forward[0]

    return run


def by_speed(numbers):
    """GMRES with a preconditioner that names a traced number."""
    return ag.GMRES(preconditioner=by_sines(numbers[0]))


@pytest.mark.slow
@pytest.mark.parametrize("stages", [3, 5])
def test_a_reaction_and_its_gradient_are_those_by_factors(stages):
    (found, ok), slopes = gradient("plain", stages)(NUMBERS)
    (expected, _), expected_slopes = gradient("factors", stages)(NUMBERS)
    assert ok
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    np.testing.assert_allclose(slopes, expected_slopes, rtol=1e-7)


@pytest.mark.slow
def test_forward_mode_is_reverse_mode():
    _, reverse, forward = both_modes()(NUMBERS)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9)


@pytest.mark.slow
def test_a_preconditioner_of_traced_numbers_has_no_part_in_the_gradient():
    (found, _), slopes = gradient("preconditioned", 3)(NUMBERS)
    (expected, _), expected_slopes = gradient("plain", 3)(NUMBERS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(slopes, expected_slopes, rtol=1e-6)


@pytest.mark.slow
def test_runs_of_a_batch_are_each_as_if_alone():
    """Three runs with a preconditioner and three without: one that changes nothing."""

    def number(x, preconditioned):
        def fn(time, state, scale, vector):
            solved = by_sines(x[0])(time, state, scale, vector)
            return jnp.where(preconditioned, solved, vector)

        return energy(x, ag.GMRES(preconditioner=fn))

    many = jnp.stack([NUMBERS, 2 * NUMBERS, 0.3 * NUMBERS])
    batch = jax.jit(jax.vmap(jax.value_and_grad(number, has_aux=True)))
    (found, ok), slopes = batch(jnp.tile(many, (2, 1)), np.repeat([True, False], 3))
    assert ok.all()
    singles = [gradient(kind, 3)(x) for kind in ("preconditioned", "plain") for x in many]
    np.testing.assert_allclose(found, [value for (value, _), _ in singles], rtol=1e-9)
    np.testing.assert_allclose(slopes, [slope for _, slope in singles], rtol=1e-7)


@pytest.mark.slow
def test_a_preconditioner_saves_products():
    """With three products a solve a run without one needs steps that are not stiff."""

    @jax.jit
    def steps(preconditioned):
        def fn(time, state, scale, vector):
            solved = by_sines(1.0)(time, state, scale, vector)
            return jnp.where(preconditioned, solved, vector)

        linear = ag.GMRES(max_steps=3, preconditioner=fn)
        calculus = solver(linear, rtol=1e-4, atol=1e-6)
        run = ag.simulate(heat(BENT), [0.0, 4.0], calculus=calculus, throw=False)
        return run.stats["steps"] + run.stats["rejected"]

    assert 2 * steps(True) < steps(False)


@pytest.mark.slow
def test_a_wrong_preconditioner_gives_no_wrong_number():
    """One makes all vectors small, the other knows no direction at all."""

    def run(linear):
        calculus = solver(linear, 3)
        return ag.simulate(heat(BENT), [0.0, 0.01], calculus=calculus, throw=False)

    @jax.jit
    def times(size):
        return run(ag.GMRES(preconditioner=lambda t, y, s, v: size * v))

    small, none = times(1e-9), times(0.0)
    np.testing.assert_allclose(small.output[-1], run(None).output[-1], atol=1e-7)
    assert none.status != ag.Status.ok
    assert np.isnan(none.output[-1]).all()


@pytest.mark.slow
def test_a_loop_without_registers_is_solved_with_the_stages():
    @ag.circuit
    def discharge():
        voltage, current = ag.register("t", 1.0), ag.unknown()
        voltage.input = -current
        current.input = (voltage - 0.025 * jnp.log1p(current / 1e-9)) / 100.0
        return {"voltage": voltage, "current": current}

    ts = [0.0, 50.0]
    fn = by_identity
    runs = [
        ag.simulate(discharge(), ts, calculus=solver(linear, rtol=1e-8, atol=1e-10))
        for linear in (None, ag.GMRES(), ag.GMRES(preconditioner=fn))
    ]
    for name in ("voltage", "current"):
        for run in runs[1:]:
            np.testing.assert_allclose(run[name], runs[0][name], rtol=1e-8)


def by_identity(time, state, scale, vector):
    """A preconditioner that does nothing; it sees what the registers hold."""
    assert state.shape == vector.shape == (1,)
    return vector


def test_no_matrix_is_formed():
    """No array of a run or its gradient has two axes as long as the state."""
    count = 1200  # more than the points that derivatives keep

    def lowered(linear):
        def number(speed):
            def field(t, y):
                return speed * (jnp.mean(y) - y) - y**3

            circuit = ag.ode(field, jnp.ones(count))
            calculus = solver(linear, 3, max_steps=512)
            return jnp.sum(ag.simulate(circuit, [0.0, 1.0], calculus=calculus).output[-1])

        return jax.jit(jax.value_and_grad(number)).lower(1.0).as_text()

    def matrices(text):
        shapes = {tuple(map(int, s.split("x"))) for s in re.findall(r"tensor<([0-9x]+)x[cf]", text)}
        return [shape for shape in shapes if sum(n >= count for n in shape) > 1]

    assert not matrices(lowered(ag.GMRES()))
    assert matrices(lowered(None))


def test_failures_are_statuses_that_come_soon():
    edge = ag.ode(lambda t, y: -jnp.sqrt(y) - 1.0, jnp.ones(3))  # no real slope below 0
    run = ag.simulate(edge, [0.0, 5.0], calculus=solver(ag.GMRES(), 3), throw=False)
    assert run.status == ag.Status.newton
    assert np.isnan(run.output[-1]).all()
    assert run.stats["rejected"] < 500


@pytest.mark.slow
def test_large_states_that_are_no_number_are_refused():
    """XLA drops NaN from maxima of so many entries."""
    edge = ag.ode(lambda t, y: -jnp.sqrt(y) - 1.0, jnp.ones(5000))
    for linear in (ag.GMRES(), ag.GMRES(preconditioner=lambda t, y, s, v: jnp.nan * v)):
        run = ag.simulate(edge, [0.0, 5.0], calculus=solver(linear, 3), throw=False)
        assert run.status != ag.Status.ok
        assert np.isnan(run.output[-1]).all()


@pytest.mark.slow
def test_single_precision_works():
    circuit = heat((1.5 * BENT).astype(np.float32), 1.0, 2.0)
    calculus = solver(ag.GMRES(), 3, rtol=1e-4, atol=1e-5)
    ts = jnp.array([0.0, 0.1], jnp.float32)
    run = ag.simulate(circuit, ts, calculus=calculus)
    assert run.output.dtype == jnp.float32
    (expected, _), _ = gradient("factors", 3)(NUMBERS)
    np.testing.assert_allclose(np.sum(run.output[-1] ** 2), expected, rtol=1e-3)


@pytest.mark.slow
def test_events_and_delays_are_those_by_factors():
    """A fast register that follows what a slow one was; the preconditioner sees the registers."""

    @ag.circuit
    def following():
        slow, fast = ag.register("t", 1.0), ag.register("t", 0.0)
        late = ag.delay("t", 1.0, by=0.9)
        late.input = slow
        slow.input = -late
        fast.input = -1e4 * (fast - late)
        return {"slow": slow, "fast": fast}

    def diagonal(time, state, scale, vector):
        assert state.shape == vector.shape == (2,)
        return vector / (1 + scale * jnp.array([0.0, 1e4]))

    events = (ag.Event("fast", name="zero"), ag.Event("slow", terminal=True, name="end"))
    runs = [
        ag.simulate(
            following(), [0.0, 1.0, 9.0], calculus=solver(linear), events=events, throw=False
        )
        for linear in (None, ag.GMRES(), ag.GMRES(preconditioner=diagonal))
    ]
    assert runs[0].status == ag.Status.event
    for run in runs[1:]:
        assert run.status == ag.Status.event
        np.testing.assert_allclose(run.reached, runs[0].reached, rtol=1e-6)
        np.testing.assert_allclose(run["fast"][1], runs[0]["fast"][1], rtol=1e-5)


def test_wrong_options_are_refused():
    for options in ({"rtol": 0}, {"rtol": 1.0}, {"rtol": "a"}, {"restart": 0}, {"max_steps": 1.5}):
        with pytest.raises(ag.CircuitError, match="GMRES: " + next(iter(options))):
            ag.GMRES(**options)
    with pytest.raises(ag.CircuitError, match="preconditioner must be a function"):
        ag.GMRES(preconditioner=3.0)
    with pytest.raises(ag.CircuitError, match="is called with time, state, scale, vector"):
        ag.GMRES(preconditioner=lambda t, y, v: v)
    with pytest.raises(ag.CircuitError, match=r"linear must be None or ag.GMRES\(\), not 'gmres'"):
        ag.Radau(3, linear="gmres")
    circuit, ts = heat(START), [0.0, 0.01]
    for fn in (lambda t, y, s, v: v[1:], lambda t, y, s, v: (v, v), lambda t, y, s, v: v.real):
        with pytest.raises(ag.CircuitError, match=r"of shape \(64,\), not"):
            ag.simulate(circuit, ts, calculus=solver(ag.GMRES(preconditioner=fn)))
    branching = ag.GMRES(preconditioner=lambda t, y, s, v: v if t > 0 else 2 * v)
    with pytest.raises(ag.CircuitError, match="preconditioner cannot be traced"):
        ag.simulate(circuit, ts, calculus=solver(branching))
