"""Circuits as sequences: finite differences, delays, filters, and chunks of any length."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from diffusions import GROWTH

import asgard as ag

DISCRETE = ag.Discrete()
RANDOM = np.random.default_rng(5)


def taps(dim="n"):
    """A wire's last two samples: 1 -> 2."""
    return ag.Delay(dim) >> ag.Split() >> (ag.Id() @ ag.Delay(dim))


def section(numerator, denominator):
    """A filter of second order in direct form II, with denominator[0] = 1."""
    back = taps() >> (ag.Scalar(-denominator[1]) @ ag.Scalar(-denominator[2])) >> ag.Add()
    loop = ((ag.Id() @ back) >> ag.Add() >> ag.Split()).trace()
    ahead = taps() >> (ag.Scalar(numerator[1]) @ ag.Scalar(numerator[2])) >> ag.Add()
    return loop >> ag.Split() >> (ag.Scalar(numerator[0]) @ ahead) >> ag.Add()


def fibonacci():
    """f = f0 + delay f + delay delay f, 1 -> 1."""
    back = taps() >> ag.Add()
    return ((ag.Id() @ back) >> ag.Add() >> ag.Split()).trace()


def impulse(count):
    return jnp.zeros(count).at[0].set(1.0)


def test_an_exponential_is_a_power_of_two():
    growth = (ag.Register("n", 1.0) >> ag.Split()).trace()
    found = ag.simulate(growth, [0, 1, 5, 30], calculus=DISCRETE).output
    np.testing.assert_array_equal(found, [1, 2, 32, 2**30])


def test_a_register_sums_what_came_before():
    values = RANDOM.normal(size=9)
    found, _ = ag.compile(ag.Register("n", 2.0), DISCRETE)((values,), None)
    np.testing.assert_allclose(found, 2 + np.cumsum([0, *values[:-1]]), rtol=1e-14)


def test_a_register_that_delays_is_the_shift_of_coefficients():
    circuit = (ag.Register("n", 1.0) @ ag.Delay("n", 1.0)) >> (ag.Id() @ ag.Id())
    values = RANDOM.normal(size=6)
    both, _ = ag.compile(circuit, ag.Discrete(register="delay"))((values, values), None)
    for found in both:
        np.testing.assert_array_equal(found, [1, *values[:-1]])


def test_a_deregister_is_the_difference_to_the_sample_after_and_undoes_a_register():
    values, numbers = RANDOM.normal(size=9), np.arange(8)
    there = ag.Register("n", 2.0) >> ag.Deregister("n")
    back = ag.Deregister("n") >> ag.Register("n", 2.0)
    twice = ag.Deregister("n") >> ag.Deregister("n")
    square = ag.Coordinate("n") >> ag.Power(2) >> ag.Deregister("n")
    circuit = ag.Split(3) >> (there @ back @ twice) @ square
    inputs = (ag.Samples(values),)
    found = ag.simulate(circuit, numbers, inputs=inputs, calculus=DISCRETE).outputs
    held = np.append(values, values[-1])
    expected = values[:8], 2 + values[:8] - values[0], np.diff(held, n=2)[:8], 2 * numbers + 1
    for output, values in zip(found, expected, strict=True):
        np.testing.assert_allclose(output, values, atol=1e-13)


def test_a_deregister_that_delays_undoes_the_shift():
    values = RANDOM.normal(size=6)
    there = ag.Register("n", 2.0) >> ag.Deregister("n")
    back = ag.Deregister("n") >> ag.Register("n", 2.0)
    inputs = (ag.Samples(values),)
    found = ag.simulate(
        ag.Split() >> (there @ back),
        range(6),
        inputs=inputs,
        calculus=ag.Discrete(register="delay"),
    ).outputs
    np.testing.assert_array_equal(found[0], values)
    np.testing.assert_array_equal(found[1], [2, *values[1:]])


def test_a_loop_with_more_registers_than_deregisters_runs():
    # x = -S x / 2 from S = 1, where S is also the difference of its own sum.
    held = ag.Register("n", 1.0) >> ag.Register("n", 5.0) >> ag.Deregister("n")
    circuit = (held >> ag.Scalar(-0.5) >> ag.Split()).trace()
    found = ag.simulate(circuit, range(9), calculus=DISCRETE).output
    np.testing.assert_allclose(found, -(0.5 ** np.arange(1, 10)), rtol=1e-14)


def test_an_impulse_gives_the_fibonacci_numbers():
    found, _ = ag.compile(fibonacci(), DISCRETE)((impulse(30),), None)
    expected = [1, 1]
    while len(expected) < 30:
        expected.append(expected[-1] + expected[-2])
    np.testing.assert_array_equal(found, expected)


def test_the_drift_alone_of_geometric_brownian_motion_is_a_power():
    circuit = ag.parse(GROWTH)
    found = ag.simulate(circuit, range(9), calculus=ag.Discrete(noise="off")).output
    np.testing.assert_allclose(found, 1.1 ** np.arange(9), rtol=1e-14)


def test_filters_are_those_of_scipy_whole_and_in_chunks():
    numerator, denominator = scipy.signal.butter(2, 0.3)
    samples = RANDOM.normal(size=1000)
    run = ag.compile(section(numerator, denominator), DISCRETE)
    whole, _ = run((samples,), None)
    expected = scipy.signal.lfilter(numerator, denominator, samples)
    np.testing.assert_allclose(whole, expected, atol=1e-13)
    state, pieces = None, []
    for chunk in (samples[:1], samples[1:380], samples[380:]):
        piece, state = run((chunk,), state)
        pieces.append(piece)
    np.testing.assert_allclose(jnp.concatenate(pieces), whole, atol=1e-14)


def test_a_million_samples_through_a_cascade_are_those_of_scipy():
    sections = scipy.signal.butter(6, 0.2, output="sos")
    circuit = ag.Composition(*(section(row[:3], row[3:]) for row in sections))
    samples = RANDOM.normal(size=10**6)
    run = ag.compile(circuit, DISCRETE)
    found, _ = run((samples,), None)
    expected = scipy.signal.sosfilt(sections, samples)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    first, state = run((samples[: 10**5],), None)
    rest, _ = run((samples[10**5 :],), state)
    np.testing.assert_allclose(jnp.concatenate([first, rest]), expected, atol=1e-12)


def test_two_half_runs_equal_one_whole_run():
    circuit = section(*scipy.signal.butter(2, 0.3))
    inputs = (ag.Samples(RANDOM.normal(size=41)),)
    whole = ag.simulate(circuit, range(41), inputs=inputs, calculus=DISCRETE)
    first = ag.simulate(circuit, range(18), inputs=inputs, calculus=DISCRETE)
    rest = ag.simulate(circuit, range(17, 41), inputs=inputs, calculus=DISCRETE, state=first.state)
    joined = jnp.concatenate([first.output, rest.output[1:]])
    np.testing.assert_allclose(joined, whole.output, atol=1e-14)


def test_inputs_are_numbers_functions_and_samples():
    circuit = ag.Add(3) >> ag.Register("n")
    inputs = (2.0, lambda n: n**2, ag.Samples([1.0, -1.0, 5.0]))
    found = ag.simulate(circuit, [0, 2, 5], inputs=inputs, calculus=DISCRETE).output
    each = 2 + np.arange(5) ** 2 + np.array([1, -1, 5, 5, 5])
    np.testing.assert_allclose(found, [0, each[:2].sum(), each.sum()], rtol=1e-14)


def test_a_markov_chain_is_a_power_of_its_matrix():
    matrix = jnp.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.0, 0.4, 0.6]])
    start = jnp.array([1.0, 0.0, 0.0])
    chain = (ag.Function(lambda p: p @ matrix, 1) >> ag.Delay("n", start) >> ag.Split()).trace()
    found = ag.simulate(chain, [0, 1, 50], calculus=DISCRETE).output
    powers = [np.linalg.matrix_power(matrix, n)[0] for n in (0, 1, 50)]
    np.testing.assert_allclose(found, powers, rtol=1e-13)


def test_a_kalman_filter_is_its_recursion():
    step, noise, error = jnp.array([[1.0, 0.1], [0.0, 1.0]]), 0.01 * jnp.eye(2), 0.25
    look = jnp.array([[1.0, 0.0]])

    def update(seen, mean, covariance):
        mean, covariance = step @ mean, step @ covariance @ step.T + noise
        gain = covariance @ look.T / (look @ covariance @ look.T + error)
        return mean + gain[:, 0] * (seen - look @ mean)[0], (jnp.eye(2) - gain @ look) @ covariance

    held = ag.Delay("n", jnp.zeros(2)) @ ag.Delay("n", jnp.eye(2))
    twice = (ag.Split() @ ag.Split()) >> ag.Permute((0, 2, 1, 3))
    filtered = ag.Function(update, 3, 2) >> twice >> (ag.Id(2) @ held)
    run = ag.compile(filtered.trace(2), DISCRETE)
    seen = RANDOM.normal(size=(20, 1))
    (means, covariances), _ = run((seen,), None)
    mean, covariance = jnp.zeros(2), jnp.eye(2)
    for number, value in enumerate(seen):
        mean, covariance = update(value, mean, covariance)
        np.testing.assert_allclose(means[number], mean, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(covariances[number], covariance, rtol=1e-12, atol=1e-14)


def test_small_circuits_run_as_kernels():
    section_of_two = section(*scipy.signal.butter(2, 0.3))
    inputs = (ag.Samples(RANDOM.normal(size=9)),)
    run = ag.simulate(section_of_two, range(9), inputs=inputs, calculus=DISCRETE)
    assert run.stats["kernel"]
    sorting = (ag.Function(jnp.sort, 1) >> ag.Delay("n", [2.0, 1.0]) >> ag.Split()).trace()
    assert not ag.simulate(sorting, range(9), calculus=DISCRETE).stats["kernel"]


PARALLEL = ag.Discrete(parallel=True)


def test_linear_circuits_run_as_an_associative_scan():
    filtering = section(*scipy.signal.butter(2, 0.3))
    samples = jnp.asarray(RANDOM.normal(size=43))

    def chunks(calculus, samples):
        run = ag.compile(filtering, calculus)
        first, state = run((samples[:1],), None)
        rest, state = run((samples[1:],), state)
        return jnp.concatenate([first, rest]), state

    @jax.jit
    def both(samples):
        return [
            (
                chunks(calculus, samples),
                jax.grad(lambda x, c=calculus: chunks(c, x)[0][-1])(samples),
            )
            for calculus in (PARALLEL, DISCRETE)
        ]

    ours, expected = both(samples)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-13), ours, expected)


def test_an_associative_scan_runs_coefficients_that_change_and_complex_numbers():
    turn = ag.Function(lambda u, n, z: z * jnp.exp(1j * n / 7) + u, 3, 1)
    wires = ag.Id() @ ag.Coordinate("n") @ ag.Id()
    circuit = (wires >> turn >> ag.Delay("n", 1.0 + 0j) >> ag.Split()).trace()
    inputs = (ag.Samples(RANDOM.normal(size=40) + 0j),)
    ts = [3, 4, 20, 39]
    ours, expected = (
        ag.simulate(circuit, ts, inputs=inputs, calculus=calculus)
        for calculus in (PARALLEL, DISCRETE)
    )
    np.testing.assert_allclose(ours.output, expected.output, atol=1e-12)
    np.testing.assert_allclose(ours.state.contents, expected.state.contents, atol=1e-12)


def test_an_associative_scan_runs_branches_on_inputs():
    def kept(u, x):
        return jnp.where(u > 1, 0.0, jnp.where(u > 0, 0.5, -0.2) * x + u)

    circuit = (ag.Id() @ ag.Delay("n", 1.0) >> ag.Function(kept, 2) >> ag.Split()).trace()
    inputs = (ag.Samples(RANDOM.normal(size=40)),)
    ours, expected = (
        ag.simulate(circuit, range(40), inputs=inputs, calculus=calculus).output
        for calculus in (PARALLEL, DISCRETE)
    )
    np.testing.assert_allclose(ours, expected, atol=1e-14)
    branching = (ag.Function(lambda x: jnp.where(x > 0, x, 0.5), 1) >> ag.Delay("n")) >> ag.Split()
    with pytest.raises(ag.CircuitError, match="linear"):
        ag.simulate(branching.trace(), range(5), calculus=PARALLEL)


@pytest.mark.parametrize(
    ("fn", "said"),
    [(jnp.sin, "linear"), (jnp.abs, "linear"), (lambda x: x * x, "linear"), (jnp.floor, "linear")],
)
def test_what_is_not_linear_is_refused_by_an_associative_scan(fn, said):
    circuit = (ag.Function(fn, 1) >> ag.Delay("n", 1.0) >> ag.Split()).trace()
    with pytest.raises(ag.CircuitError, match=said):
        ag.simulate(circuit, range(5), calculus=PARALLEL)


def test_loops_without_registers_are_refused_by_an_associative_scan():
    feedback = ((ag.Id() @ ag.Scalar(-0.5)) >> ag.Add() >> ag.Split()).trace()
    with pytest.raises(ag.CircuitError, match="no register"):
        ag.compile(feedback, PARALLEL)(([3.0],), None)


def test_a_recurrent_network_learns_through_its_scan():
    def cell(u, h):
        return jnp.tanh(0.5 * u + 0.8 * h)

    layer = (ag.Id() @ ag.Delay("n")) >> ag.Function(cell, 2) >> ag.Scalar(0.9)
    circuit = (layer >> ag.Split()).trace()
    samples = RANDOM.normal(size=7)

    def last(circuit):
        return ag.compile(circuit, DISCRETE)((samples,), None)[0][-1]

    def by_hand(factor):
        h = 0.0
        for u in samples:
            h = factor * cell(u, h)
        return h

    @jax.jit
    def both(circuit, factor):
        return jax.value_and_grad(last)(circuit), jax.value_and_grad(by_hand)(factor)

    (value, slopes), (expected, slope) = both(circuit, 0.9)
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(ag.parameters(slopes)["scalar.factor"], slope, rtol=1e-12)


def test_a_run_under_jit_says_its_span():
    growth = (ag.Register("n", 1.0) >> ag.Split()).trace()
    run = jax.jit(lambda ts: ag.simulate(growth, ts, calculus=ag.Discrete(span=4)).output)
    np.testing.assert_array_equal(run(jnp.array([3.0, 7.0])), [1, 16])
    with pytest.raises(ag.CircuitError, match="span"):
        jax.jit(lambda ts: ag.simulate(growth, ts, calculus=DISCRETE).output)(jnp.arange(3.0))


def test_a_sequence_that_overflows_says_at_which_sample():
    power = ag.Function(lambda x: x**2, 1) >> ag.Delay("n", 10.0)
    circuit = (power >> ag.Split()).trace()
    with pytest.raises(ag.SimulationError, match="t = 9, after 9 steps, in the output"):
        ag.simulate(circuit, range(12), calculus=DISCRETE)


def test_outputs_are_nan_from_the_first_bad_sample_on_and_its_wire_is_named():
    pole = ag.Coordinate("n") >> ag.Function(lambda n: 1 / (n - 3), 1) >> ag.Var("pole")
    circuit = (ag.Coordinate("n") >> ag.Register("n")) @ pole
    run = ag.simulate(circuit, range(6), calculus=DISCRETE, throw=False)
    np.testing.assert_array_equal(run.outputs[0], [0, 0, 1, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(run["pole"][:3], [-1 / 3, -1 / 2, -1])
    with pytest.raises(ag.SimulationError, match=r"nonfinite at t = 3.*in pole"):
        run.check()


REFUSED = {
    "a register of its own": (lambda: ag.Discrete(register="product"), '"sum" or "delay"'),
    "noise": (lambda: simulated(ag.StochasticRegister("n", "W")), "under Discrete"),
    "a forward difference of chunks": (
        lambda: ag.compile(ag.Deregister("n"), DISCRETE)((np.ones(2),), None),
        "a sample ahead",
    ),
    "half samples": (lambda: simulated(ag.Register("n"), [0, 0.5]), "sample numbers"),
    "samples that float32 does not tell apart": (
        lambda: simulated(ag.Register("n"), np.float32([0, 2**24])),
        "16777216 or more, which float32",
    ),
    "no inputs": (
        lambda: ag.compile(ag.Const(1.0) >> ag.Register("n"), DISCRETE)((), None),
        "without inputs",
    ),
    "an empty chunk": (
        lambda: ag.compile(ag.Register("n"), DISCRETE)((np.zeros(0),), None),
        "at least one sample",
    ),
    "chunks of two lengths": (
        lambda: ag.compile(ag.Add() >> ag.Register("n"), DISCRETE)((np.ones(2), np.ones(3)), None),
        "one number of samples",
    ),
    "a gap after a state": (
        lambda: simulated(ag.Register("n"), [7, 8], simulated(ag.Register("n")).state),
        "stands at 1, and ts begins at 7",
    ),
    "a state of another circuit": (
        lambda: ag.compile(ag.Register("n"), DISCRETE)((np.ones(2),), state=np.ones(3)),
        "state",
    ),
}


def simulated(circuit, ts=(0, 1), state=None):
    return ag.simulate(circuit, np.asarray(ts), inputs=(1.0,), calculus=DISCRETE, state=state)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    call, words = REFUSED[name]
    with pytest.raises(ag.CircuitError, match=words):
        call()


def test_samples_are_counted_past_what_an_integer_of_32_bits_holds():
    first = 2**31 + 1
    summing = ag.Coordinate("n") >> ag.Register("n")
    found = ag.simulate(summing, [first, first + 2], calculus=DISCRETE)
    assert found.output[-1] == 2 * first + 1


def test_traced_times_that_the_calculus_does_not_run_over_have_a_status():
    rising = ag.recurrence(lambda n, y: y + 1, 0.0)

    @jax.jit
    def run(ts):
        return ag.simulate(rising, ts, calculus=ag.Discrete(span=10))

    assert run(jnp.array([0.0, 4.0, 10.0])).status == ag.Status.ok
    for wrong in ([0.0, 4.0, 11.0], [0.0, 4.5, 10.0], [10.0, 4.0, 0.0]):
        found = run(jnp.array(wrong))
        assert found.status == ag.Status.times
        assert jnp.isnan(found.output).all()
    early = run(jnp.array([0.0, 4.0, 8.0]))  # its state stands at 10, and is of no run to 8
    np.testing.assert_array_equal(early.output, [0, 4, 8])
    with pytest.raises(ag.CircuitError, match="the state stands at t = 10"):
        ag.simulate(rising, [8, 9], calculus=DISCRETE, state=early.state)


def test_chunks_of_single_precision_go_on_past_the_samples_that_it_tells_apart():
    with jax.enable_x64(False):
        delay, clock = ag.Delay("n", by=3), ag.Discard() >> ag.Clock(4.0, 0.0, "n")
        run = ag.compile(delay @ clock, DISCRETE)
        samples = jnp.arange(9.0)
        _, state = run((samples[:1], samples[:1]), None)
        state = eqx.tree_at(lambda s: s.number, state, jnp.array(2**24 - 3))
        (late, ticks), _ = run((samples[1:], samples[1:]), state)
    np.testing.assert_array_equal(late, [0, 0, 0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(ticks, [1, 0, 0, *[jnp.nan] * 5])
