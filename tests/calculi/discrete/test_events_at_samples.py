"""Events at samples, against plain loops."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

DISCRETE = ag.Discrete()
RANDOM = np.random.default_rng(3)
LOW, HIGH, OFF, ON = -0.5, 0.5, 2.0, -3.0

# From a value and a trigger: the four atoms side by side.
WIRING = ag.Split(4) @ ag.Split(3) >> ag.Permute((0, 4, 1, 2, 5, 6, 3))
ATOMS = ag.Reset("n", 0.3) @ ag.SampleHold(-1.0, "n") @ ag.Counter(2.0, "n")
ALL = WIRING >> (ATOMS @ ag.Relay(LOW, HIGH, OFF, ON, "n"))


def looped(values, triggers):
    """The same as a plain loop: the outputs, a row for each sample."""
    sum_, held, count, relay = 0.3, -1.0, 2.0, OFF
    before, rows = triggers[0], []
    for value, trigger in zip(values, triggers, strict=True):
        rows.append((sum_, held, count, relay))
        rises = before <= 0 < trigger
        sum_ = value if rises else sum_ + value
        held, count = (value, count + 1) if rises else (held, count)
        if relay == OFF and value > HIGH:
            relay = ON
        elif relay == ON and value < LOW:
            relay = OFF
        before = trigger
    return np.array(rows)


def test_every_atom_is_a_plain_loop_for_each_entry_in_chunks_and_from_a_state():
    values, triggers = RANDOM.normal(size=(2, 60, 3))
    expected = np.stack([looped(values[:, k], triggers[:, k]) for k in range(3)], axis=1)
    assert len(np.unique(expected[..., 2])) > 10  # events there are
    inputs = (ag.Samples(values), ag.Samples(triggers))
    whole = ag.simulate(ALL, range(60), inputs=inputs, calculus=DISCRETE)
    for output, rows in zip(whole.outputs, np.moveaxis(expected, -1, 0), strict=True):
        np.testing.assert_allclose(output, rows, atol=1e-12)
    run, state = ag.compile(ALL, DISCRETE), None
    for start in range(0, 60, 20):
        chunk = values[start : start + 20], triggers[start : start + 20]
        outputs, state = run(chunk, state)
        for output, rows in zip(outputs, whole.outputs, strict=True):
            np.testing.assert_array_equal(output, rows[start : start + 20])
    first = ag.simulate(ALL, range(31), inputs=inputs, calculus=DISCRETE)
    rest = ag.simulate(ALL, range(30, 60), inputs=inputs, calculus=DISCRETE, state=first.state)
    for output, rows in zip(rest.outputs, whole.outputs, strict=True):
        np.testing.assert_array_equal(output, rows[30:])


def test_scalars_run_as_a_kernel_with_batches_and_derivatives():
    values, triggers = RANDOM.normal(size=(2, 4, 40))
    expected = np.stack([looped(*pair) for pair in zip(values, triggers, strict=True)])

    def run(values, triggers):
        inputs = (ag.Samples(values), ag.Samples(triggers))
        return ag.simulate(ALL, range(40), inputs=inputs, calculus=DISCRETE)

    found = jax.jit(jax.vmap(run))(values, triggers)
    np.testing.assert_allclose(np.stack(found.outputs, -1), expected, atol=1e-12)
    assert np.all(found.stats["kernel"])

    def loss(values):
        return jnp.sum(run(values, triggers[0]).outputs[0] ** 2)

    # The events stay where they are, so the loop is linear in the values.
    def looped_loss(values):
        return np.sum(looped(values, triggers[0])[:, 0] ** 2)

    found, step = jax.jit(jax.grad(loss))(values[0]), 1e-6
    for n in (0, 7, 30):
        shift = step * np.eye(40)[n]
        slope = looped_loss(values[0] + shift) - looped_loss(values[0] - shift)
        np.testing.assert_allclose(found[n], slope / (2 * step), rtol=1e-6, atol=1e-6)


def test_a_sampled_controller_is_its_loop():
    period, gain, a, b = 5, 0.8, 1.05, 0.2
    plant = ag.Function(lambda u, x: (a - 1) * x + b * u, 2) >> ag.Register("n", 1.0)
    control = ag.Scalar(-gain) @ ag.Clock(float(period), 2.0, "n") >> ag.SampleHold(0.0, "n")
    loop = (plant >> ag.Split(3) >> (ag.Id() @ control @ ag.Id())).trace(2)
    found = ag.simulate(loop, range(50), calculus=DISCRETE)
    x, u, expected = 1.0, 0.0, []
    for n in range(50):
        expected.append(x)
        x, u = a * x + b * u, -gain * x if n % period == 2 else u
    np.testing.assert_allclose(found.output, expected, rtol=1e-12)
    assert bool(found.stats["kernel"])


def test_a_thermostat_by_samples_sees_swings_from_one_sample_to_the_next():
    # Each sample moves by more than the relay's band, so it is above high and then below low.
    heat = ag.Function(lambda h, x: 0.5 * (4.0 * h - x), 2) >> ag.Register("n", 0.0)
    relay = ag.Relay(1.4, 1.6, 1.0, 0.0, "n")
    loop = (heat >> ag.Split(3) >> (ag.Id() @ relay @ ag.Id())).trace(2)
    found = ag.simulate(loop, range(30), calculus=DISCRETE).output
    x, h, expected = 0.0, 1.0, []
    for _ in range(30):
        expected.append(x)
        switched = (0.0 if x > 1.6 else 1.0) if h else (1.0 if x < 1.4 else 0.0)
        x, h = x + 0.5 * (4.0 * h - x), switched
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_first_sample():
    def counts(trigger, ts, calculus=DISCRETE):
        return ag.simulate(trigger >> ag.Counter(0.0, "n"), ts, calculus=calculus).output

    # A clock fires at the first sample, as it does in every other; what is above zero does not.
    np.testing.assert_array_equal(counts(ag.Clock(4.0, 0.0, "n"), range(8)), [0, *[1] * 4, 2, 2, 2])
    np.testing.assert_array_equal(counts(ag.Clock(4.0, 1.0, "n"), range(2, 8)), [0] * 4 + [1] * 2)
    np.testing.assert_array_equal(counts(ag.Const(1.0), range(3)), [0, 0, 0])
    relay = ag.simulate(ag.Relay(0.0, 1.0, dim="n"), range(3), inputs=(2.0,), calculus=DISCRETE)
    np.testing.assert_array_equal(relay.output, [0, 1, 1])
    # Nor does the first sample of a chunk.
    run = ag.compile(ag.Counter(0.0, "n"), DISCRETE)
    first, state = run((jnp.array([0.0, 1.0]),), None)
    more, _ = run((jnp.array([1.0, 0.0, 1.0, 1.0]),), state)
    np.testing.assert_array_equal([*first, *more], [0, 0, 1, 1, 1, 2])


def test_samples_ahead_see_events_and_rates_are_summed_in_either_mode():
    triggers = np.array([-1.0, 1, 1, -1, 2, -1, -1, 3])
    rises = [0, 1, 0, 0, 1, 0, 0]
    circuit = ag.Counter(0.0, "n") >> ag.Deregister("n")
    inputs = (ag.Samples(triggers),)
    found = ag.simulate(circuit, range(7), inputs=inputs, calculus=DISCRETE).output
    np.testing.assert_array_equal(found, rises)
    delay = ag.Discrete(register="delay")
    found = ag.simulate(circuit, range(7), inputs=inputs, calculus=delay).output
    np.testing.assert_array_equal(found, np.cumsum(rises))
    reset = ag.Reset("n", 1.0)
    inputs = (2.0, ag.Samples(triggers), 10.0)
    found = ag.simulate(reset, range(7), inputs=inputs, calculus=delay).output
    np.testing.assert_array_equal(found, [1, 3, 10, 12, 14, 10, 12])


def test_an_own_atom_and_a_trigger_that_is_lost():
    class Spike(ag.Hybrid):
        dim: str = eqx.field(static=True, default="n")
        initial: jax.Array = eqx.field(default=0.0)
        n_in = 1

        def rate(self, content, current):
            return current

        def guard(self, content, current):
            return content - 1.0

        def jump(self, content, current):
            return content - 1.0

    currents = np.array([0.4, 0.4, 0.4, 1.7, 0.2, 0.4, 0.4])
    found, _ = ag.compile(Spike(), DISCRETE)((currents,), None)
    # 1.2 jumps to 0.2; then comes 1.9, which jumps to 0.9.
    np.testing.assert_allclose(found, [0, 0.4, 0.8, 1.2, 0.2, 0.4, 0.8], rtol=1e-12)
    lost = ag.simulate(
        ag.Counter(0.0, "n"),
        range(4),
        inputs=(ag.Samples(np.array([0.0, 1.0, np.nan, 0.0])),),
        calculus=DISCRETE,
        throw=False,
    )
    np.testing.assert_array_equal(lost.output, [0, 0, 1, np.nan])
    assert lost.status == ag.Status.nonfinite


def test_a_run_in_parallel_refuses_events_by_name():
    with pytest.raises(ag.CircuitError, match=r"parallel=True.*counter\(.*n\) jumps at events"):
        ag.compile(ag.Counter(0.0, "n"), ag.Discrete(parallel=True))((jnp.zeros(4),), None)


@pytest.mark.parametrize("form", ["term", "function"])
def test_clocks_of_single_precision_tick_at_their_samples_late_in_a_sequence(form):
    clock = ag.Clock(jnp.float32(10), jnp.float32(2), "n")
    circuit = clock if form == "term" else ag.circuit(lambda: clock())()
    first = 4_000_000
    with jax.enable_x64(False):
        found = ag.simulate(circuit, range(first, first + 20), calculus=ag.Discrete()).output
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, ((np.arange(20) - 2) % 10 < 5))
