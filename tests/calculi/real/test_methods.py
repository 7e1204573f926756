"""What every method of steps gives: saved times, state, dense output, lanes and derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow, with_values
from systems import ode, oscillator

import asgard as ag

METHODS = {
    "Taylor": ag.Taylor(8),
    "Tsit5": ag.Tsit5(),
    "Dopri8": ag.Dopri8(),
    "Radau": ag.Radau(),
}
TS = jnp.linspace(0.0, 3.0, 7)
TOLERANCE = 1e-8


def options(name, **more):
    return ag.Real(method=METHODS[name], rtol=TOLERANCE, atol=TOLERANCE, max_steps=511, **more)


# Tsit5 is shown by the tests that are quick for one method, and is Dopri8 with another tableau.
@pytest.fixture(params=["Taylor", slow("Tsit5"), slow("Dopri8"), "Radau"])
def name(request):
    return request.param


# What costs seconds to compile is quick for one method. `KINDS` are one of each kind.
FEW = pytest.mark.parametrize("name", ["Tsit5", slow("Dopri8"), slow("Taylor"), slow("Radau")])
KINDS = pytest.mark.parametrize("name", ["Tsit5", slow("Taylor"), slow("Radau")])
TAYLOR = pytest.mark.parametrize("name", ["Taylor", *map(slow, ("Tsit5", "Dopri8", "Radau"))])


def pendulum(damping, start):
    return ode(lambda y: jnp.stack([y[1], -jnp.sin(y[0]) - damping * y[1]]), start)


def states(name, damping, start, ts=TS):
    return ag.simulate(pendulum(damping, start), ts, calculus=options(name)).output


START, DAMPING = jnp.array([1.0, -0.4]), jnp.asarray(0.3)


@pytest.fixture(scope="module")
def truth():
    """The states by a Taylor run of machine precision, and their derivatives."""

    def run(damping, start):
        return ag.simulate(pendulum(damping, start), TS).output

    return jax.jit(run)(DAMPING, START), jax.jit(jax.jacfwd(run, (0, 1)))(DAMPING, START)


@TAYLOR
def test_saved_states_and_derivatives_in_every_mode(name, truth):
    values, (by_damping, by_start) = truth

    def run(damping, start):
        return states(name, damping, start)

    @jax.jit
    def everything(damping, start):
        # Reverse mode transposes what forward mode is: one run for both.
        found, push = jax.linearize(run, damping, start)
        reverse = jax.linear_transpose(push, damping, start)(jnp.ones_like(found))
        return found, push(1.0, jnp.zeros(2)), reverse

    found, tangent, (to_damping, to_start) = everything(DAMPING, START)
    np.testing.assert_allclose(found, values, atol=100 * TOLERANCE)
    np.testing.assert_allclose(tangent, by_damping, atol=1000 * TOLERANCE)
    np.testing.assert_allclose(to_damping, by_damping.sum(), atol=1000 * TOLERANCE)
    np.testing.assert_allclose(to_start, by_start.sum((0, 1)), atol=1000 * TOLERANCE)


@pytest.mark.slow
def test_second_derivatives(name):
    def loss(damping):
        return jnp.sum(states(name, damping, START) ** 2)

    run, step = jax.jit(with_values(jax.jacfwd, jax.grad(loss))), 1e-4
    (found, _), (_, less), (_, more) = (run(DAMPING + s) for s in (0.0, -step, step))
    np.testing.assert_allclose(found, (more - less) / (2 * step), rtol=1e-4)


@FEW
def test_lanes_are_single_runs(name):
    dampings = jnp.array([0.0, 0.3, 2.0])

    @jax.jit
    def batch(dampings):
        def loss(damping):
            found = states(name, damping, START)
            return jnp.sum(found), found

        return jax.vmap(jax.value_and_grad(loss, has_aux=True))(dampings)

    (_, found), slopes = batch(dampings)
    single = jax.jit(lambda damping: states(name, damping, START))
    for damping, row in zip(dampings, found, strict=True):
        np.testing.assert_allclose(row, single(damping), atol=1e-12)
    assert np.all(np.isfinite(slopes))


class Network(ag.Atom):
    """A layer of weights."""

    weights: jax.Array
    n_in = n_out = 1

    def __call__(self, y):
        return jnp.tanh(self.weights @ y) - y


@functools.cache
def shared_weights(name):
    """Gradients of a batch's sum to what it shares, of each of its runs, and at other scales."""
    starts = jnp.array([[1.0, 0.5], [-0.3, 2.0], [0.1, 0.1]])
    # The last run is over before the others, and its logarithm has no value elsewhere.
    ends = jnp.array([1.0, 0.5, 1e-3])

    def loss(weights, scale, start, end):
        fed = (
            Network(weights) >> ag.Scalar(scale) >> ag.Register("t", start) >> ag.Split()
        ).trace()
        run = ag.simulate(fed, jnp.stack([0.0 * end, end]), calculus=options(name), throw=False)
        return jnp.sum(run.output[-1] ** 2)

    def together(weights, scale):
        return jnp.sum(jax.vmap(loss, (None, None, 0, 0))(weights, scale, starts, ends))

    weights, scale = jnp.array([[0.5, -1.0], [1.0, 0.3]]), jnp.asarray(1.3)

    def single():
        one = jax.grad(loss, (0, 1))
        return jax.jit(jax.vmap(one, (None, None, 0, 0)))(weights, scale, starts, ends)

    def nested():
        batch = jax.vmap(jax.grad(together, (0, 1)), (None, 0))
        return jax.jit(batch)(weights, jnp.array([1.3, 0.7]))

    return jax.jit(jax.grad(together, (0, 1)))(weights, scale), single, nested


@KINDS
def test_gradients_of_weights_that_a_batch_shares(name):
    found, single, _ = shared_weights(name)
    # Lane by lane, then summed.
    for whole, rows in zip(found, single(), strict=True):
        np.testing.assert_allclose(whole, rows.sum(0), rtol=1e-9)


@KINDS
@pytest.mark.slow
def test_gradients_of_weights_of_which_a_batch_of_batches_shares_some(name):
    found, _, nested = shared_weights(name)
    for whole, rows in zip(found, nested(), strict=True):
        np.testing.assert_allclose(rows[0], whole, rtol=1e-9)


@TAYLOR
def test_a_run_goes_on_from_its_state_by_the_same_steps(name):
    whole = ag.simulate(oscillator(), [0.0, 2.0, 5.0], calculus=options(name))
    # As many times as the whole, so that both are one compilation.
    half = ag.simulate(oscillator(), [0.0, 1.0, 2.0], calculus=options(name))
    rest = ag.simulate(oscillator(), [2.0, 5.0], calculus=options(name), state=half.state)
    for one, other in zip(whole.outputs, rest.outputs, strict=True):
        np.testing.assert_allclose(one[-1], other[-1], atol=1e-13)
    assert int(half.stats["steps"] + rest.stats["steps"]) == int(whole.stats["steps"])
    # Another method goes on from where this one came to.
    other = options(next(key for key in METHODS if key != name))
    rest = ag.simulate(oscillator(), [2.0, 5.0], calculus=other, state=half.state)
    np.testing.assert_allclose(rest.outputs[0][-1], np.cos(5.0), atol=100 * TOLERANCE)


def test_dense_output_and_backward_runs(name):
    run = ag.simulate(oscillator(), [5.0, 0.0], calculus=options(name, dense=True))
    times = np.linspace(0.0, 5.0, 23)
    x, _ = run.evaluate(times).outputs
    np.testing.assert_allclose(x, np.cos(times - 5.0), atol=300 * TOLERANCE)


@pytest.mark.parametrize("name", [slow("Taylor"), "Dopri8", slow("Tsit5"), slow("Radau")])
def test_breakpoints_end_steps_and_move_with_their_times(name):
    def run(at):
        step = ag.Register("t", 0.0)
        calculus = options(name, breakpoints=at[None])
        inputs = (lambda t: jnp.where(t < at, t, 2.0 + t**3),)
        return ag.simulate(step, [0.0, 2.0], inputs=inputs, calculus=calculus).output[-1]

    at = jnp.asarray(0.7)
    found, slope = jax.jit(jax.value_and_grad(run))(at)
    np.testing.assert_allclose(found, 0.245 + 2.6 + (16 - 0.7**4) / 4, rtol=1e-12)
    np.testing.assert_allclose(slope, 0.7 - 2.0 - 0.7**3, rtol=1e-10)


def kepler():
    """The solution z of z = u + 0.8 sin z, 1 -> 1."""
    return ((ag.Id() @ (ag.Sin() >> ag.Scalar(0.8))) >> ag.Add() >> ag.Split()).trace()


def slope(z):
    """z' of the test below."""
    return -z / (1 - 0.8 * jnp.cos(z))


@KINDS
@pytest.mark.slow
def test_loops_without_registers_are_solved_as_the_run_goes(name):
    # x' = -z with z - 0.8 sin z = x, so that z' (1 - 0.8 cos z) = -z.
    circuit = kepler() >> ag.Var("z") >> ag.Scalar(-1.0) >> ag.Register("t", 1.0) >> ag.Split()
    run = ag.simulate(circuit.trace(), [0.0, 1.0, 2.0], calculus=options(name))
    start = run["z"][0]
    np.testing.assert_allclose(start - 0.8 * np.sin(start), 1.0, rtol=1e-14)
    expected = ag.simulate(ode(slope, start), [0.0, 1.0, 2.0]).output
    np.testing.assert_allclose(run["z"], expected, atol=100 * TOLERANCE)


def test_a_run_that_ends_where_it_begins(name):
    for time in (0.0, 5.0):
        run = ag.simulate(oscillator(), [time], calculus=options(name))
        assert run.status == ag.Status.ok
        np.testing.assert_array_equal([output[0] for output in run.outputs], [1.0, 0.0])


def test_a_blow_up_is_a_status(name):
    blow_up = (ag.Power(2) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    run = ag.simulate(blow_up, [0.0, 0.5, 2.0], calculus=options(name), throw=False)
    assert run.status != ag.Status.ok
    np.testing.assert_allclose(run.output[:2], [1.0, 2.0], rtol=1e-5)
    assert np.isnan(run.output[2])
    assert 0.99 < float(run.stats["reached"]) <= 1.001


@pytest.mark.parametrize("name", ["Dopri8", slow("Tsit5"), slow("Radau")])
def test_a_compiled_run_goes_on_without_compilation(name):
    circuit = pendulum(DAMPING, START)
    whole = ag.simulate(circuit, [0.0, 1.5], calculus=options(name))
    first = ag.simulate(circuit, [0.0, 0.9], calculus=options(name))
    with jax.disable_jit():
        rest = ag.simulate(circuit, [0.9, 1.5], calculus=options(name), state=first.state)
    np.testing.assert_allclose(rest.output[-1], whole.output[-1], rtol=1e-7)


@pytest.mark.parametrize(
    "method", [ag.Radau(7), ag.Dopri8(), slow(ag.Tsit5()), slow(ag.Radau(3)), slow(ag.Radau(5))]
)
def test_saved_values_in_float32_are_as_exact_as_the_steps(method):
    start = jnp.array([0.0, 1.0], jnp.float32)
    circuit = ode(lambda y: jnp.stack([y[1], -y[0]]), start)
    ts = jnp.linspace(0.0, 3.0, 41, dtype=jnp.float32)
    found = ag.simulate(circuit, ts, calculus=ag.Real(method=method, rtol=1e-6, atol=1e-6)).output
    np.testing.assert_allclose(found[:, 0], np.sin(ts.astype(float)), atol=4e-6)


def test_slow_systems_in_float32_are_as_exact_as_others():
    """Their coefficients underflow from the sixth on: errors were 2e-4, with the status ok."""

    def run(rate):
        rates = lambda t, y: (rate * y[1], -rate * y[0])  # noqa: E731
        circuit = ag.ode(rates, (jnp.float32(1.0), jnp.float32(0.0)))
        found = ag.simulate(circuit, jnp.stack([0 * rate, 15 / rate]))
        return found.outputs[0][-1], found.status == ag.Status.ok

    found, good = jax.jit(jax.vmap(run))(jnp.array([1.0, 1e-6], jnp.float32))
    assert good.all()
    np.testing.assert_allclose(found, np.cos(15), atol=2e-6)


def test_systems_too_fast_for_series_in_float32_are_told_what_to_try():
    fast = ag.ode(lambda t, y: -1e6 * y, jnp.float32(1.0))
    with pytest.raises(ag.SimulationError, match=r"Tsit5.*a shorter one of time"):
        ag.simulate(fast, [0.0, 1e-5])
    rough = ag.Real(method=ag.Tsit5(), rtol=1e-5)
    found = ag.simulate(fast, [0.0, 1e-5], calculus=rough).output[-1]
    np.testing.assert_allclose(found, np.exp(-10), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Dopri8", "Radau"])
def test_a_jump_of_the_slope_is_not_stepped_over(name):
    """y' jumps from -0.1 to -1 where y falls below a threshold."""

    def run(threshold):
        circuit = ode(lambda y: jnp.where(y > threshold, -0.1, -1.0), jnp.ones(()))
        calculus = ag.Real(method=METHODS[name], rtol=1e-6, atol=1e-6)
        end = 10 * (1 - threshold) + 0.5
        return ag.simulate(circuit, jnp.stack([0.0, end]), calculus=calculus).output[-1]

    thresholds = jnp.linspace(0.9, 0.96, 101)
    found = jax.jit(jax.vmap(run))(thresholds)
    np.testing.assert_allclose(found, thresholds - 0.5, atol=1e-5)


def test_slow_systems_and_poles_are_not_stiff():
    taylor = ag.Real(rtol=1e-8, atol=1e-10)
    constant = ode(lambda y: 0 * y + 1e-3, jnp.ones(()))
    run = ag.simulate(constant, [0.0, 1e13], calculus=taylor)
    np.testing.assert_allclose(run.output[-1], 1 + 1e10, rtol=1e-7)
    bounded = ag.Real(max_step=0.1, max_steps=100)
    run = ag.simulate(pendulum(0.0, START), [0.0, 1e5], calculus=bounded, throw=False)
    assert run.status == ag.Status.max_steps
    pole = ode(lambda y: y * y, jnp.ones(()))
    loose = ag.Real(method=ag.Tsit5(), rtol=1e-4)
    assert ag.simulate(pole, [0.0, 2.0], calculus=loose, throw=False).status == ag.Status.step_size


def test_a_weak_singularity_ahead_is_not_stiff():
    """y = -log(1 - t) is small beside what bounds the steps, up to the last ones."""
    for rate, end in ((1.0, 2.0), (-1.0, -2.0)):
        growing = ag.ode(lambda t, y, *, rate: rate * jnp.exp(y), 0.0, rate=rate)
        run = ag.simulate(growing, [0.0, end], throw=False)
        assert run.status == ag.Status.step_size
        np.testing.assert_allclose(run.reached, end / 2, rtol=1e-13)


def test_wrong_methods_are_refused():
    for given, message in {
        "a string": ({"method": "tsit5"}, "method of stepping"),
        "a class": ({"method": ag.Tsit5}, "method of stepping"),
        "an order too": ({"method": ag.Tsit5(), "order": 4}, "Taylor"),
        "an order by name": ({"method": ag.Tsit5(), "order": {"t": 4}}, "Taylor"),
    }.values():
        with pytest.raises(ag.CircuitError, match=message):
            ag.Real(**given)
    with pytest.raises(ag.CircuitError, match="order of 2 or more"):
        ag.Taylor(1)


def method_of(circuit, **options):
    """The method that a run takes; nothing is compiled to know it."""
    run = functools.partial(ag.simulate, circuit, [0.0, 0.1], calculus=ag.Real(**options))
    return jax.eval_shape(run).method


def test_the_default_follows_the_tolerance_and_the_equation():
    smooth, taylor, dopri8 = ode(lambda y: -y, jnp.ones(2)), ag.Taylor(20), ag.Dopri8()
    assert [method_of(smooth, rtol=rtol) for rtol in (1e-3, None)] == [dopri8, taylor]
    assert method_of(smooth, rtol=1e-3, order=6) == ag.Taylor(6)
    assert method_of(smooth, rtol={"register": jnp.array([1e-3, 1e-6])}) == dopri8
    assert method_of(ode(lambda y: -jnp.abs(y), jnp.ones(2)), rtol=1e-3) == dopri8
    assert method_of(ode(lambda y: -jnp.sort(y), jnp.ones(2)), rtol=1e-3) == taylor
    large = ode(lambda y: -y, jnp.ones(65))
    assert [method_of(large, rtol=rtol) for rtol in (1e-3, None)] == [ag.Tsit5(), dopri8]
    # A product by a small matrix is no reason for lower orders; one by a large matrix is.
    assert method_of(ode(lambda y: -jnp.eye(2) @ y, jnp.ones(2))) == taylor
    wide = jnp.ones((2, 2000)) / 2000
    assert method_of(ode(lambda y: -wide @ (wide.T @ y), jnp.ones(2))) == dopri8
    single = ode(lambda y: -y, jnp.ones(2, jnp.float32))
    assert method_of(single, rtol=1e-6) == ag.Taylor(9)

    # A tolerance that is traced is not known when the method is chosen.
    def traced(rtol):
        return ag.simulate(smooth, [0.0, 0.1], calculus=ag.Real(rtol=rtol))

    assert jax.eval_shape(traced, 1e-3).method == taylor
    # One that is a constant of a traced function is, and is checked as outside of it.
    for known in (1e-3, {"register": np.array([1e-3, 1e-6])}):
        assert jax.eval_shape(lambda known=known: traced(known)).method == dopri8
    with pytest.raises(ag.CircuitError, match="must be at least 0"):
        jax.eval_shape(lambda: traced(-1e-3))
    with pytest.raises(ag.CircuitError, match="no better than"):
        jax.eval_shape(lambda: traced(1e-20))


def test_a_run_tells_its_method():
    decay = ode(lambda y: -y, jnp.ones(2))
    for method in (ag.Taylor(6, unroll=True), ag.Radau(3, linear=ag.GMRES(restart=9))):
        assert method_of(decay, method=method) == method
    batch = jax.eval_shape(
        jax.vmap(lambda y: ag.simulate(ode(lambda y: -y, y), [0.0, 0.1])), jnp.ones((3, 2))
    )
    assert batch.method == ag.Taylor(20)
    relay = ag.Relay(-1.0, 1.0) >> ag.Register("t", 0.5) >> ag.Split()
    assert method_of(relay.trace()) == ag.Taylor(20)  # and not what ends its steps at events
    assert method_of(ag.Coordinate("t")) is None
