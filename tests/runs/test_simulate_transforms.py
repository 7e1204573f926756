"""A run is a pure function: derivatives, batches, and what compiles again."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations, in_both_modes, slow
from systems import decay, lorenz, relaxation

import asgard as ag

# The function of the package hides the module of its name.
CALCULUS = ag.Real(order=14, rtol=1e-14, max_steps=14)


def decayed(rate, initial, ts):
    """exp(-rate t) initial at the last of the times."""
    return ag.simulate(decay(rate, initial), ts, calculus=CALCULUS).output[-1]


def test_times_out_of_order_fail_a_run_under_a_transformation():
    run = jax.jit(lambda ts: ag.simulate(decay(), ts, calculus=CALCULUS))
    assert (
        run(jnp.array([0.0, 0.1, 0.2])).status == run(-jnp.arange(3.0) / 9).status == ag.Status.ok
    )
    found = run(jnp.array([0.1, 0.0, 0.2]))
    assert found.status == ag.Status.times
    assert np.isnan(found.output).all()
    with pytest.raises(ag.SimulationError, match=r"^times: .*not strictly monotone"):
        found.check()


def test_statistics_at_times_out_of_order_are_no_numbers_under_a_transformation():
    options = {"calculus": ag.Stochastic(steps=1, noise="off"), "paths": 2, "throw": False}
    reduce = {"mean": ag.statistics.Mean()}
    run = jax.jit(lambda ts: ag.ensemble(decay(), ts, reduce=reduce, **options))
    assert run(jnp.array([0.0, 1.0, 2.0])).failed == 0
    found = run(jnp.array([0.0, 1.0, 0.5]))
    assert found.failed == 2
    assert np.isnan(found["mean"]).all()
    assert np.isnan(found.statistics["mean"]).all()
    with pytest.raises(ag.SimulationError, match=r"^times"):
        found.check()


def test_times_behind_a_state_fail_a_run_under_a_transformation():
    """Where times and states are known that is an error."""
    first = ag.simulate(decay(), [0.0, 0.5], calculus=CALCULUS).state

    @jax.jit
    def run(ts, state):
        return ag.simulate(decay(), ts, calculus=CALCULUS, state=state)

    found = run(jnp.array([0.5, 0.7, 0.9]), first)
    np.testing.assert_allclose(found.output, np.exp([-0.5, -0.7, -0.9]), rtol=1e-13)
    assert run(jnp.array([0.6, 0.7, 0.9]), first).status == ag.Status.ok
    for times in ([0.1, 0.7, 0.9], [0.6, 0.3, 0.1]):
        behind = run(jnp.array(times), first)
        assert behind.status == ag.Status.times
        assert np.isnan(behind.output).all()


def sequence(ts, state):
    growth = ag.ode(lambda n, x: x, 1.0, dim="n")
    return ag.simulate(growth, ts, calculus=ag.Discrete(span=3), state=state)


def path(ts, state):
    calculus = ag.Stochastic(steps=1, noise="off")
    return ag.simulate(decay(), ts, calculus=calculus, state=state)


def paths(ts, state):
    options = {"calculus": ag.Stochastic(steps=1, noise="off"), "paths": 2, "throw": False}
    return ag.ensemble(decay(), ts, state=state, **options)


@pytest.mark.parametrize("run", [sequence, path, slow(paths)])
def test_sequences_and_paths_go_on_where_their_state_is_under_a_transformation(run):
    run = jax.jit(run)
    ts = jnp.array([0.0, 1.0, 2.0, 3.0])
    state = run(ts, None).state
    found = run(ts + 3, state)
    assert np.all(found.status == ag.Status.ok)
    assert np.isfinite(found.outputs[0]).all()
    for late in (2.0, 4.0):
        wrong = run(ts + late, state)
        assert np.all(wrong.status == ag.Status.times)
        assert np.isnan(wrong.outputs[0]).all()
        with pytest.raises(ag.SimulationError, match=r"^times"):
            wrong.check()


@pytest.mark.parametrize("derivative", [jax.grad, slow(jax.jacfwd), slow(jax.jacrev)])
def test_derivatives_to_parameters_initial_values_and_times(derivative):
    rate, initial, ts = 1.5, 2.0, jnp.array([0.25, 0.75])
    found = derivative(decayed, argnums=(0, 1, 2))(rate, initial, ts)
    value = initial * math.exp(-rate * 0.5)
    expected = (-0.5 * value, value / initial, [rate * value, -rate * value])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def last_of_lorenz(start):
    circuit = ag.update(lorenz(), {"register.initial": start})
    calculus = ag.Real(order=16, rtol=1e-15, max_steps=40)
    return ag.simulate(circuit, jnp.linspace(0, 0.4, 40), calculus=calculus).output[-1]


@pytest.mark.slow
def test_reverse_and_forward_mode_agree_with_differences_over_many_steps_and_saves():
    start, step = jnp.array([1.0, 1.5, 0.5]), 1e-4
    run = jax.jit(functools.partial(in_both_modes, last_of_lorenz))
    _, forward, reverse = run(start)
    np.testing.assert_allclose(reverse, forward, rtol=1e-12)
    for place, direction in enumerate(step * np.eye(3)):
        near, far = (run(start + k * direction)[0] - run(start - k * direction)[0] for k in (1, 2))
        np.testing.assert_allclose(forward[:, place], (8 * near - far) / (12 * step), rtol=1e-9)


def test_a_gradient_over_every_saved_time_counts_each_once():
    ts = jnp.linspace(0, 1, 50)

    def total(rate):
        return jnp.sum(ag.simulate(decay(rate), ts, calculus=CALCULUS).output)

    expected = np.sum(-np.asarray(ts) * np.exp(-1.5 * ts))
    np.testing.assert_allclose(jax.jit(jax.grad(total))(1.5), expected, rtol=1e-12)


def test_the_gradient_to_arguments_of_an_input():
    def last(frequency):
        inputs = ((lambda t, w: jnp.cos(w * t), frequency),)
        ts = jnp.array([0.0, 1.0])
        return ag.simulate(ag.Register("t"), ts, inputs=inputs, calculus=CALCULUS).output[-1]

    w = 1.3
    expected = math.cos(w) / w - math.sin(w) / w**2
    np.testing.assert_allclose(jax.jit(jax.grad(last))(w), expected, rtol=1e-11)


def test_a_hessian_vector_product():
    ts = jnp.array([0.0, 0.5])

    def energy(p):
        return decayed(p[0], p[1], ts) ** 2

    p, v = jnp.array([1.5, 2.0]), jnp.array([0.3, -0.7])
    _, found = jax.jit(lambda p, v: jax.jvp(jax.grad(energy), (p,), (v,)))(p, v)
    # energy = b² exp(-a).
    e, b = math.exp(-1.5), 2.0
    hessian = np.array([[b**2 * e, -2 * b * e], [-2 * b * e, 2 * e]])
    np.testing.assert_allclose(found, hessian @ v, rtol=1e-11)


def test_vmap_of_a_gradient_over_rates():
    rates = jnp.array([0.5, 1.0, 2.0])
    found = jax.jit(jax.vmap(jax.grad(decayed), in_axes=(0, None, None)))(
        rates, 1.0, jnp.array([0.0, 0.5])
    )
    np.testing.assert_allclose(found, -0.5 * np.exp(-0.5 * rates), rtol=1e-12)


def test_a_value_under_jit_is_the_value_outside():
    ts = jnp.linspace(0, 1, 7)
    inside = jax.jit(lambda c: ag.simulate(c, ts).output)(lorenz())
    np.testing.assert_allclose(inside, ag.simulate(lorenz(), ts).output, rtol=1e-14)


def wave(t, frequency):
    return jnp.sin(frequency * t)


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run(circuit=ag.update(relaxation(), {"scalar.factor": -2})),
        lambda run: run(circuit=ag.update(relaxation(), {"scalar.factor": np.float32(-0.5)})),
        lambda run: run(circuit=relaxation(3.0, 0.25)),
        lambda run: run(circuit=relaxation(jnp.array(3.0), np.float64(2.0))),
        lambda run: run(ts=[1.0, 1.5, 4.0]),
        lambda run: run(ts=np.array([5.0, 2.0, 1.0])),
        lambda run: run(ts=(0, 1, 2)),
        lambda run: run(calculus=ag.Real(rtol=1e-6, atol=1e-6, max_step=1)),
        lambda run: run(calculus=ag.Real(rtol=np.float32(1e-5), atol=0, max_step=0.5)),
        lambda run: run(inputs=((wave, 7.0),)),
        lambda run: run(inputs=((wave, np.float64(0.5)),)),
    ],
)
def test_nothing_compiles_again_where_only_traced_things_change(change):
    def run(**changes):
        options = {
            "circuit": relaxation(),
            "ts": [0.0, 1.0, 2.0],
            "inputs": ((wave, 1.0),),
            "calculus": ag.Real(rtol=1e-8, atol=1e-8, max_step=2.0),
        }
        options |= changes
        return ag.simulate(options.pop("circuit"), options.pop("ts"), **options)

    run()
    with compilations() as programs:
        change(run)
    assert not programs


def test_nothing_compiles_again_where_breakpoints_or_the_state_change():
    def run(place, begin):
        first = ag.simulate(decay(1.0, begin), [0.0, 1.0])
        calculus = ag.Real(breakpoints=[place])
        return ag.simulate(decay(2.0), [1.0, 2.0], calculus=calculus, state=first.state)

    run(1.5, 1.0)
    with compilations() as programs:
        run(1.25, 3.0)
    assert not programs


def test_another_number_of_times_compiles_again():
    ag.simulate(decay(), [0.0, 1.0])
    with compilations() as programs:
        ag.simulate(decay(), np.linspace(0, 1, 23))
    assert len(programs) == 1


def stepped(t, place):
    """t before `place`, 5 t after it."""
    return jnp.where(t > place, 5.0, 1.0) * t


@pytest.mark.parametrize("derivative", [jax.grad, slow(jax.jacfwd)])
def test_derivatives_to_the_place_of_a_breakpoint_and_to_the_start_before_it(derivative):
    def area(start, place):
        calculus = ag.Real(breakpoints=jnp.stack([place]), max_steps=30)
        ts = jnp.stack([start, 3.2])
        inputs = ((stepped, place),)
        return ag.simulate(ag.Register("t"), ts, inputs=inputs, calculus=calculus).output[-1]

    start, place = 0.2, 1.0  # area = (place² - start²) / 2 + 5 (3.2² - place²) / 2
    found = jax.jit(derivative(area, argnums=(0, 1)))(start, place)
    np.testing.assert_allclose(found, (-start, -4 * place), rtol=1e-12)


def test_operations_on_known_numbers_are_not_compiled_as_a_run_is_traced():
    """Each would take as long as a tenth of the first call."""

    @ag.circuit
    def heated():
        warmth, heater = ag.register("t", 15.0), ag.relay(-1.0, 1.0)
        heater.input = 20.0 - warmth
        warmth.input = 5.0 * heater - 0.1 * warmth
        return {"warmth": warmth}

    for circuit in (heated(), lorenz()):
        run = jax.jit(lambda circuit: ag.simulate(circuit, [0.0, 20.0]).outputs)
        with compilations(small=True) as programs:
            run.trace(circuit)
        assert len(programs) <= 2, programs
