"""Derivatives of runs: forward, reverse and mixed, of one run and of batches.

They are held against central differences, closed forms and one another.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_both_modes, slow
from systems import lorenz_of_wires, ode

import asgard as ag
from asgard.calculi.real import again, path

TS = jnp.linspace(0.0, 2.0, 6)
MARK = "xla_cpu_small_call"
CALCULUS = ag.Real(order=8, rtol=1e-10)


def pendulum(damping, start):
    return ode(lambda y: jnp.stack([y[1], -jnp.sin(y[0]) - damping * y[1]]), start)


def loss(damping, start, ts=TS, calculus=CALCULUS):
    states = ag.simulate(pendulum(damping, start), ts, calculus=calculus).output
    return weighed(states)


def weighed(states):
    return jnp.sum(jnp.cos(states) * jnp.arange(1.0, 1.0 + states.size).reshape(states.shape))


POINT = (jnp.asarray(0.3), jnp.array([1.0, -0.4]))


value = jax.jit(loss)
forward = jax.jit(jax.jacfwd(loss, argnums=(0, 1, 2)))
reverse = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))


def differences(fn, x, step=1e-5):
    """The gradient of a function of an array by central differences."""
    x = np.asarray(x, float)
    moves = step * np.eye(x.size).reshape(x.size, *x.shape)
    slopes = [(float(fn(x + move)) - float(fn(x - move))) / (2 * step) for move in moves]
    return np.reshape(slopes, x.shape)


FEW = 4


@pytest.fixture
def few_checkpoints(monkeypatch):
    """Paths that keep four points, so that all but short runs are thinned.

    For functions and settings that no other test runs, as programs that are compiled already keep
    as many as they did.
    """
    monkeypatch.setattr("asgard.calculi.real.calculus.CHECKPOINTS", FEW)


@pytest.mark.slow
@pytest.mark.parametrize("direction", [1, -1])
def test_reverse_and_forward_agree_with_central_differences(direction):
    """To a parameter, to initial values and to times, both ways in time."""
    damping, start = POINT
    ts = direction * TS
    found = reverse(damping, start, ts)
    for one, other in zip(forward(damping, start, ts), found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    expected = (
        differences(lambda x: value(x, start, ts), damping),
        differences(lambda x: value(damping, x, ts), start),
        differences(lambda x: value(damping, start, x), ts),
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("max_steps", [255, slow(256), slow(1000)])
def test_a_thinned_path_gives_the_same_gradient(few_checkpoints, max_steps):
    calculus = ag.Real(order=4, rtol=3e-7, max_steps=max_steps)

    def run(damping, start):
        found = ag.simulate(pendulum(damping, start), TS, calculus=calculus)
        return weighed(found.output), found.stats["steps"]

    both = jax.jit(functools.partial(in_both_modes, run, has_aux=True))
    _, forth, back, steps = both(*POINT)
    assert steps > 8 * FEW
    np.testing.assert_allclose(forth, back, rtol=1e-12)


def test_the_memory_of_a_gradient_does_not_grow_with_the_steps_allowed():
    """States are kept at so many points at most, however many steps there may be."""
    calculus = ag.Real(max_steps=16**4)
    text = jax.jit(jax.grad(loss, argnums=1)).lower(*POINT, calculus=calculus).as_text()
    assert f"tensor<{path.CHECKPOINTS + 1}x2xf64>" in text
    assert f"tensor<{16**4 + 2}x2xf64>" not in text


@pytest.mark.slow
def test_lanes_thinned_unequally_are_gone_through_together(few_checkpoints):
    """Several pullbacks of one batch, whose tiles hold other lanes than those of the runs did."""
    rates = jnp.where(jnp.arange(70) < 64, 1.0, 4.0)
    calculus = ag.Real(order=4, rtol=1e-6, max_steps=1023)

    def end(rate):
        circuit = ode(lambda y: rate * jnp.stack([y[1], -y[0]]), jnp.array([1.0, 0.0]))
        return ag.simulate(circuit, jnp.array([0.0, 3.0]), calculus=calculus, throw=False).output[
            -1, 0
        ]

    values, back = jax.vjp(jax.vmap(end), rates)
    weights = jnp.stack([jnp.ones(70), jnp.arange(70.0)])
    (found,) = jax.jit(jax.vmap(back))(weights)
    np.testing.assert_allclose(values, jnp.cos(3 * rates), atol=1e-4)
    np.testing.assert_allclose(found, -3 * jnp.sin(3 * rates) * weights, atol=0.1, rtol=1e-3)


@pytest.mark.slow
def test_a_recorded_run_has_the_same_gradient(few_checkpoints):
    """With all starts kept no step is taken anew, whatever the number of checkpoints."""
    calculus = ag.Real(order=4, rtol=1e-7, max_steps=255, adjoint="recorded")
    recorded = jax.jit(lambda y: jax.grad(loss, argnums=1)(POINT[0], y, calculus=calculus))
    assert "tensor<257x2xf64>" in recorded.lower(POINT[1]).as_text()
    bounded = jax.jit(functools.partial(loss, calculus=ag.Real(4, rtol=1e-7, max_steps=255)))
    bounded = jax.jit(jax.grad(bounded, argnums=1))(*POINT)
    np.testing.assert_allclose(recorded(POINT[1]), bounded, rtol=1e-12)


def test_an_unknown_adjoint_is_refused():
    with pytest.raises(ag.CircuitError, match='adjoint must be "bounded" or "recorded"'):
        ag.Real(adjoint="forward")


@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd])
def test_derivatives_compile_as_kernels(transform):
    text = jax.jit(transform(loss)).lower(*POINT).as_text()
    values = jax.jit(loss).lower(*POINT).as_text()
    assert values.count(MARK) == 1
    assert text.count(MARK) >= 2


@pytest.mark.slow
def test_gradients_to_breakpoints_where_an_input_jumps():
    """y' = 1 before the jump and 3 after it: y(2) = 6 - 2 place."""

    def end(place):
        jumping = ag.Function(lambda t: jnp.where(t < place, 1.0, 3.0), 1, 1)
        circuit = ag.Coordinate("t") >> jumping >> ag.Register("t", 0.0)
        calculus = ag.Real(order=6, breakpoints=jnp.stack([place, place + 5]))
        return ag.simulate(circuit, jnp.array([0.0, 2.0]), calculus=calculus).output[-1]

    place = jnp.asarray(0.7)
    np.testing.assert_allclose(end(place), 4.6, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(end))(place), -2.0, rtol=1e-12)
    places = jnp.array([0.3, 0.7, 1.5])
    found = jax.jit(jax.vmap(jax.grad(end)))(places)
    np.testing.assert_allclose(found, [-2.0] * 3, rtol=1e-12)


def logistic_end(rate, calculus=None):
    """y' = rate y (1 - y) from 1/4, at t = 1: the logistic function of rate - log 3."""
    circuit = ode(lambda y: rate * y * (1 - y), jnp.asarray(0.25))
    return ag.simulate(circuit, jnp.array([0.0, 1.0]), calculus=calculus or QUICK).output[-1]


QUICK = ag.Real(order=6, rtol=1e-9, max_steps=31)
RATE = jnp.asarray(0.6)


def logistic_derivatives(count, rate=RATE):
    """Closed forms, by the polynomial in y that each derivative of the logistic function is."""
    y = np.exp(rate) / (3 + np.exp(rate))
    polynomial, found = np.polynomial.Polynomial([0, 1]), []
    for _ in range(count):
        found.append(polynomial(y))
        polynomial = polynomial.deriv() * np.polynomial.Polynomial([0, 1, -1])
    return found


@pytest.mark.parametrize("outer", [jax.jacfwd, slow(jax.jacrev)])
@pytest.mark.parametrize("inner", [jax.jacfwd, jax.jacrev])
def test_second_derivatives_in_all_modes(inner, outer):
    _, _, expected = logistic_derivatives(3)
    found = jax.jit(outer(inner(logistic_end)))(RATE)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.slow
def test_a_third_derivative():
    *_, expected = logistic_derivatives(4)
    found = jax.jit(jax.jacfwd(jax.jacfwd(jax.grad(logistic_end))))(RATE)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.slow
def test_gradients_of_each_trajectory_of_a_batch():
    starts = jnp.array([[1.0, -0.4], [0.2, 2.5], [-3.0, 0.0]])
    batched = jax.jit(jax.vmap(jax.grad(loss, argnums=(0, 1)), in_axes=(None, 0)))
    found = batched(POINT[0], starts)
    for row, start in enumerate(starts):
        damping, state, _ = reverse(POINT[0], start, TS)
        np.testing.assert_allclose(found[0][row], damping, rtol=1e-11)
        np.testing.assert_allclose(found[1][row], state, rtol=1e-11)


@pytest.mark.slow
def test_the_gradient_of_a_batch_to_what_its_trajectories_share():
    starts = jnp.array([[1.0, -0.4], [0.2, 2.5], [-3.0, 0.0]])

    def total(damping):
        return jnp.sum(jax.vmap(loss, in_axes=(None, 0))(damping, starts))

    expected = sum(reverse(POINT[0], start, TS)[0] for start in starts)
    _, *both = jax.jit(functools.partial(in_both_modes, total))(POINT[0])
    for found in both:
        np.testing.assert_allclose(found, [[expected]], rtol=1e-10)


@pytest.mark.slow
def test_the_second_derivative_of_a_batch_to_what_its_runs_share():
    def total(rate):
        return jnp.sum(jax.vmap(lambda share: logistic_end(share * rate))(jnp.array([1.0, 0.5])))

    single = jax.jit(jax.jacfwd(jax.grad(logistic_end)))
    expected = sum(share**2 * single(share * RATE) for share in (1.0, 0.5))
    np.testing.assert_allclose(jax.jit(jax.hessian(total))(RATE), expected, rtol=1e-10)


@pytest.mark.slow
def test_gradients_of_batches_wider_than_a_tile_with_runs_of_unequal_length():
    starts = jnp.stack([jnp.linspace(-3, 3, 70), jnp.linspace(0, 2, 70)], axis=1)
    rates = jnp.linspace(0.0, 4.0, 70)
    calculus = ag.Real(order=8, rtol=1e-9)

    def one(damping, start):
        return loss(damping, start, calculus=calculus)

    found = jax.jit(jax.vmap(jax.grad(one)))(rates, starts)
    alone = jax.jit(jax.grad(one))
    for row in (0, 31, 63, 64, 69):
        np.testing.assert_allclose(found[row], alone(rates[row], starts[row]), rtol=1e-9)

    # Where the batch is inside of the derivative, each tile is run again.
    def total(rates):
        return jnp.sum(jax.vmap(one)(rates, starts))

    direction = jnp.cos(rates)
    _, forward, backward = jax.jit(functools.partial(in_modes, total))(rates, direction)
    np.testing.assert_allclose(backward, found, rtol=1e-9)
    np.testing.assert_allclose(forward, found @ direction, rtol=1e-9)


def in_modes(fn, point, direction):
    """The value, the derivative along a direction, and the gradient."""
    value, forward = jax.jvp(fn, (point,), (direction,))
    return value, forward, jax.grad(fn)(point)


@pytest.mark.slow
@pytest.mark.parametrize("outer", ["forward", "reverse"])
def test_second_derivatives_of_batches_wider_than_a_tile(outer):
    rates = jnp.linspace(0.5, 1.0, 70)

    def total(rates):
        return jnp.sum(jax.vmap(logistic_end)(rates) ** 2)

    def along(rates):
        if outer == "forward":
            return jax.jvp(jax.grad(total), (rates,), (jnp.ones_like(rates),))[1]
        return jax.grad(lambda rates: jnp.sum(jax.grad(total)(rates)))(rates)

    found = jax.jit(along)(rates)
    value, slope, bend = logistic_derivatives(3, rates)
    np.testing.assert_allclose(found, 2 * (slope**2 + value * bend), rtol=1e-8)


@pytest.mark.parametrize("products", [True, slow(False)])
def test_batches_with_room_for_many_steps(products, monkeypatch):
    """The steps of a batch are recorded while they are few. Where a lane has more, all are run
    again with the whole record, here two lanes at a time and the last of five with nothing beside
    it; with shared weights, gradients are then sums over the tiles."""
    monkeypatch.setattr(again, "LONG_RECORD", 2**20)
    monkeypatch.setattr(again, "LONGEST_RECORD", 2**20)
    monkeypatch.setattr(path, "CHECKPOINTS", 32)
    weights = jnp.array([[0.1, 1.0], [-1.0, 0.2]])
    starts = jnp.stack([jnp.linspace(0.2, 1.0, 5), jnp.zeros(5)], axis=1)
    calculus = ag.Real(order=4, rtol=1e-6)

    def field(weights, y):
        if products:  # more of them than are written out
            weights, y = jnp.pad(weights, (0, 20)), jnp.pad(y, (0, 20))
            return jnp.tanh(y @ weights)[:2]
        return jnp.stack([jnp.tanh(y[0] * a + y[1] * b) for a, b in weights.T])

    def one(weights, start, end):
        times = end * jnp.linspace(0.0, 1.0, 3)
        run = ag.simulate(ode(lambda y: field(weights, y), start), times, calculus=calculus)
        return jnp.sum(run.output**2) * start[0], run.stats["steps"]

    def total(weights, end):
        losses, steps = jax.vmap(lambda start: one(weights, start, end))(starts)
        return jnp.sum(losses), jnp.max(steps)

    @jax.jit
    def found(weights, end):
        def along(weights):
            return total(weights, end)[0]

        forward = jax.jvp(along, (weights,), (jnp.ones_like(weights),))[1]
        return jax.value_and_grad(total, has_aux=True)(weights, end), forward

    alone = jax.jit(jax.value_and_grad(one, has_aux=True))
    for end, few in ((0.25, True), (10.0, False)):
        ((value, steps), gradient), forward = found(weights, end)
        assert (steps <= path.CHECKPOINTS) == few
        lanes = [alone(weights, start, end) for start in starts]
        np.testing.assert_allclose(value, sum(loss for (loss, _), _ in lanes), rtol=1e-9)
        np.testing.assert_allclose(gradient, sum(slope for _, slope in lanes), rtol=1e-9)
        np.testing.assert_allclose(forward, jnp.sum(gradient), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["forward over reverse", "reverse over forward"])
def test_second_derivatives_of_a_batch_that_takes_more_steps_than_are_recorded(order, monkeypatch):
    """What the results move by is found along the whole path, too."""
    monkeypatch.setattr(again, "LONG_RECORD", 2**20)
    monkeypatch.setattr(path, "CHECKPOINTS", 16)
    calculus = ag.Real(order=4, rtol=1e-7)

    def end(rate):
        def field(y):  # with a product that is too large to be written out
            return rate * y * (1 - y) + 0 * (jnp.full(30, y) @ jnp.full((30, 30), rate))[0]

        run = ag.simulate(ode(field, jnp.asarray(0.25)), [0.0, 1.0], calculus=calculus)
        return run.output[-1], run.stats["steps"]

    def total(rates):
        ends, steps = jax.vmap(end)(rates)
        return jnp.sum(ends**2), jnp.max(steps)

    def value(rates):
        return total(rates)[0]

    def along(rates):
        def slope(rates):
            return jax.jvp(value, (rates,), (jnp.ones_like(rates),))[1]

        if order == "reverse over forward":
            return jax.grad(slope)(rates)
        return jax.jvp(jax.grad(value), (rates,), (jnp.ones_like(rates),))[1]

    rates = jnp.linspace(0.5, 1.0, 5)
    assert jax.jit(total)(rates)[1] > path.CHECKPOINTS
    values, slopes, bends = logistic_derivatives(3, rates)
    expected = 2 * (slopes**2 + values * bends)
    np.testing.assert_allclose(jax.jit(along)(rates), expected, rtol=1e-5)


UNDER_VMAP = {
    "gradients": lambda end, rate: jax.grad(end)(rate),
    "forward": lambda end, rate: jax.jacfwd(end)(rate),
    # Linear in the weight, through which alone a tangent comes.
    "along": lambda end, rate: jax.jvp(
        lambda weight: jax.grad(lambda rate: weight * end(rate))(rate), (2.0,), (1.0,)
    )[1],
    # The tangents of what the other branch does not have are zeros, not known to be.
    "weighed": lambda end, rate: jax.jvp(
        lambda weight: jax.grad(
            lambda rate: jax.lax.cond(weight > 0, lambda x: weight * end(x), jnp.sin, rate)
        )(rate),
        (2.0,),
        (1.0,),
    )[1],
    # The lanes of the choice are others than those of the rate.
    "branches": lambda end, rate: jax.vmap(
        lambda flag: jax.grad(lambda rate: jax.lax.cond(flag, end, jnp.sin, rate))(rate)
    )(jnp.array([True, False]))[0],
}


@pytest.mark.parametrize(
    "name", ["gradients", "along", *(slow(name) for name in ("forward", "weighed", "branches"))]
)
def test_derivatives_under_vmap_run_again(name, monkeypatch):
    """A path is not joined over the lanes: what needs it runs again, whatever stands between the
    run and its derivative."""
    monkeypatch.setattr(path, "CHECKPOINTS", 32)
    rates = jnp.linspace(0.2, 1.5, 12)  # their room for sizes is long
    calculus = ag.Real(order=5, rtol=1e-9)
    end = functools.partial(logistic_end, calculus=calculus)
    found = jax.jit(jax.vmap(functools.partial(UNDER_VMAP[name], end)))(rates)
    np.testing.assert_allclose(found, logistic_derivatives(2, rates)[1], rtol=1e-6)


@pytest.mark.slow
def test_a_pullback_taken_out_of_its_batch_is_nan():
    rates = jnp.linspace(0.2, 1.5, 12)
    end = functools.partial(logistic_end, calculus=ag.Real(order=5, rtol=1e-9))
    _, pull = jax.vmap(lambda rate: jax.vjp(end, rate))(rates)
    _, push = jax.vmap(lambda rate: jax.linearize(end, rate))(rates)
    one = jnp.ones(())
    assert jnp.isnan(jax.tree.map(lambda x: x[0], pull)(one)[0])
    assert jnp.isnan(jax.tree.map(lambda x: x[0], push)(one))
    (together,) = jax.vmap(lambda pull: pull(one))(pull)
    np.testing.assert_allclose(together, logistic_derivatives(2, rates)[1], rtol=1e-6)


@pytest.mark.slow
def test_the_gradient_of_a_wide_batch_takes_the_memory_of_one_tile():
    calculus = ag.Real(method=ag.Tsit5(), rtol=1e-6, max_steps=4096)

    def total(rates):
        return jnp.sum(jax.vmap(lambda rate: logistic_end(rate, calculus))(rates) ** 2)

    memory = [
        jax.jit(jax.grad(total)).lower(jnp.ones(lanes)).compile().memory_analysis()
        for lanes in (128, 512)
    ]
    few, many = (one.temp_size_in_bytes for one in memory)
    assert few < many < 1.5 * few


def test_gradients_through_a_complex_state():
    """z' = a z from z0: z(1) = z0 exp(a)."""

    def end(real, imaginary):
        rate = real + 1j * imaginary
        circuit = ode(lambda z: rate * z, jnp.array([1.0 + 2.0j]))
        return ag.simulate(circuit, jnp.array([0.0, 1.0])).output[-1, 0]

    def part(real, imaginary):
        return end(real, imaginary).imag

    found = jax.jit(jax.grad(part, argnums=(0, 1)))(-0.3, 0.8)
    value = (1 + 2j) * np.exp(-0.3 + 0.8j)
    np.testing.assert_allclose(found, [value.imag, (1j * value).imag], rtol=1e-12)


@pytest.mark.slow
def test_a_gradient_through_a_state_handed_on():
    """Two half runs have the derivatives of one whole run."""

    def halves(start):
        first = ag.simulate(pendulum(POINT[0], start), TS[:3], calculus=CALCULUS)
        second = ag.simulate(
            pendulum(POINT[0], start), TS[2:], calculus=CALCULUS, state=first.state
        )
        return jnp.sum(second.output[-1] * jnp.array([1.0, 2.0]))

    def whole(start):
        run = ag.simulate(pendulum(POINT[0], start), TS, calculus=CALCULUS)
        return jnp.sum(run.output[-1] * jnp.array([1.0, 2.0]))

    found, expected = (jax.jit(jax.grad(run))(POINT[1]) for run in (halves, whole))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.slow
def test_gradients_through_a_dense_run_evaluated_later():
    @jax.jit
    def later(start, times):
        run = ag.simulate(pendulum(POINT[0], start), TS, calculus=DENSE)
        return jnp.sum(run.evaluate(times).output * jnp.array([1.0, 3.0]))

    times = jnp.array([0.05, 0.9, 1.99])
    found = jax.jit(jax.grad(later))(POINT[1], times)
    np.testing.assert_allclose(found, differences(lambda y: later(y, times), POINT[1]), rtol=1e-7)


DENSE = ag.Real(order=8, rtol=1e-10, max_steps=255, dense=True)


@pytest.mark.slow
def test_gradients_of_lorenz_to_each_register():
    circuit = lorenz_of_wires()

    def end(circuit):
        outputs = ag.simulate(circuit, jnp.array([0.0, 1.0])).outputs
        return outputs[0][-1] + 2 * outputs[1][-1]

    _, forth, back = jax.jit(functools.partial(in_both_modes, end))(circuit)
    np.testing.assert_allclose(back, forth, rtol=1e-11)


def test_a_batch_whose_runs_have_matrices_of_their_own():
    keys = jax.random.split(jax.random.key(0), 4)
    inner, outer = (
        jax.random.normal(key, (3, *shape))
        for key, shape in zip(keys[:2], ((8, 9), (9, 8)), strict=True)
    )
    shared, starts = jax.random.normal(keys[2], (8, 9)), jax.random.normal(keys[3], (3, 8))
    calculus = ag.Real(method=ag.Tsit5(), rtol=1e-8, atol=1e-8, max_steps=64)

    def end(inner, outer, shared, start):
        def field(y):
            hidden = jnp.tanh(inner.T @ y + y @ shared)
            return hidden @ outer - y + jnp.sum(inner[0] ** 2) / 50

        return ag.simulate(ode(field, start), [0.0, 1.0], calculus=calculus).output[-1]

    def total(inner, outer, shared, batched):
        if batched:
            ends = jax.vmap(end, in_axes=(0, 0, None, 0))(inner, outer, shared, starts)
        else:
            ends = jax.lax.map(lambda one: end(*one[:2], shared, one[2]), (inner, outer, starts))
        return jnp.sum(ends**2)

    given = inner, outer, shared
    found, expected = (
        jax.jit(jax.value_and_grad(functools.partial(total, batched=batched), (0, 1, 2)))(*given)
        for batched in (True, False)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, expected
    )
    along = jax.jit(
        lambda *given: jax.jvp(functools.partial(total, batched=True), given, given)[1]
    )(*given)
    slopes = sum(jnp.vdot(a, b) for a, b in zip(given, expected[1], strict=True))
    np.testing.assert_allclose(along, slopes, rtol=1e-9)
