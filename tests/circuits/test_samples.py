"""Sampled inputs: values against SciPy, runs against closed forms, and what a run may not feel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations, slow
from scipy.interpolate import CubicSpline, PPoly
from systems import relaxation

import asgard as ag

KINDS = ("hold", "linear", "cubic")
RANDOM = np.random.default_rng(7)
TS = np.cumsum(RANDOM.uniform(0.2, 1.0, 12)) - 1.0
VALUES = RANDOM.normal(size=12)
INTEGRAL = ag.Register("t")


def exact(kind, values=VALUES, ts=TS):
    """SciPy's piecewise polynomial through the samples."""
    if kind == "cubic":
        return CubicSpline(ts, values)
    if kind == "linear":
        return PPoly([np.diff(values) / np.diff(ts), values[:-1]], ts)
    return PPoly([values], np.append(ts, ts[-1] + 1))  # the last one is held too


def within(ts):
    """Times inside and on the samples, and on either side of them."""
    inside = np.linspace(ts[0], ts[-1], 40)
    return np.unique(np.concatenate([[ts[0] - 1.5], inside, ts, [ts[-1] + 2.0]]))


def area(samples, ts, **options):
    return ag.simulate(INTEGRAL, ts, inputs=(samples,), **options)


@pytest.mark.parametrize("dtype", [slow("float32"), "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_scipy_and_the_end_values_outside(kind, dtype):
    at, values = TS.astype(dtype), VALUES.astype(dtype)
    ts = within(at)
    output = ag.simulate(ag.Id(), ts, inputs=(ag.Samples(values, at, kind),)).output
    expected = exact(kind, values, at)(np.clip(ts, at[0], at[-1]))
    assert output.dtype == dtype
    np.testing.assert_allclose(output, expected, rtol=0, atol=32 * np.finfo(dtype).eps)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_integral_is_exact_and_no_step_is_refused(kind, backward):
    ts = within(TS)[::-1] if backward else within(TS)
    run = area(ag.Samples(VALUES, TS, kind), ts)
    antiderivative = exact(kind).antiderivative()
    outside = np.minimum(ts - TS[0], 0) * VALUES[0] + np.maximum(ts - TS[-1], 0) * VALUES[-1]
    expected = antiderivative(np.clip(ts, TS[0], TS[-1])) + outside
    # A step ends and begins beside a sample time: each time, some last digits of t are left out.
    missed = len(TS) * 2 * np.spacing(TS[-1]) * np.max(np.abs(VALUES))
    np.testing.assert_allclose(run.output, expected - expected[0], rtol=0, atol=missed)
    assert run.stats["rejected"] == 0
    # One a piece, and those by which the first step grows.
    assert run.stats["steps"] <= len(TS) + 16


@pytest.mark.parametrize("dtype", [slow("float32"), "float64"])
@pytest.mark.parametrize("backward", [False, True])
def test_a_held_input_relaxes_by_its_closed_form(backward, dtype):
    values, at = VALUES[:6].astype(dtype), TS[:6].astype(dtype)
    ts = at[::-1] if backward else at
    circuit = jax.tree.map(lambda leaf: leaf.astype(dtype), relaxation())
    found = ag.simulate(circuit, ts, inputs=(ag.Samples(values, at),)).output
    expected = [1.0]
    spans = np.diff(ts.astype(float))
    for span, held in zip(spans, values[-2::-1] if backward else values[:-1], strict=True):
        expected.append(held + (expected[-1] - held) * np.exp(-span))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=128 * np.finfo(dtype).eps)


@pytest.mark.slow
def test_times_of_another_dtype_than_the_run_are_met():
    circuit = jax.tree.map(lambda leaf: leaf.astype("float32"), relaxation())
    samples = ag.Samples(VALUES.astype("float32"), TS, "linear")
    runs = [ag.simulate(c, [TS[0], TS[-1]], inputs=(samples,)) for c in (circuit, relaxation())]
    assert [run.output.dtype for run in runs] == ["float32", "float64"]
    assert [int(run.stats["rejected"]) for run in runs] == [0, 0]
    np.testing.assert_allclose(runs[0].output, runs[1].output, rtol=1e-5)


@pytest.mark.parametrize("kind", ["cubic", slow("hold"), slow("linear")])
def test_vectors_are_sampled_entry_by_entry(kind):
    values = RANDOM.normal(size=(12, 2, 3))
    output = area(ag.Samples(values, TS, kind), [TS[0], TS[-1]]).output[-1]
    expected = exact(kind, values[:, 1, 2]).integrate(TS[0], TS[-1])
    assert output.shape == (2, 3)
    np.testing.assert_allclose(output[1, 2], expected, rtol=0, atol=1e-13)


@pytest.mark.slow
def test_complex_samples_run():
    values = VALUES + 1j * VALUES[::-1]
    found = area(ag.Samples(values, TS, "cubic"), [TS[0], TS[-1]]).output[-1]
    np.testing.assert_allclose(found, CubicSpline(TS, values).integrate(TS[0], TS[-1]), rtol=1e-14)


def test_inputs_at_different_times_and_other_breakpoints_are_all_met():
    circuit = (ag.Id() @ ag.Id() @ ag.Id()) >> ag.Add(3) >> ag.Register("t")
    inputs = (
        ag.Samples(VALUES, TS),
        ag.Samples(VALUES[:5], TS[:5] + 0.05, "linear"),
        lambda t: jnp.where(t < 2.3, 0.0, 1.0),
    )
    calculus = ag.Real(breakpoints=[2.3])
    run = ag.simulate(circuit, [TS[0], TS[-1]], inputs=inputs, calculus=calculus)
    first = exact("hold").integrate(TS[0], TS[-1])
    second = exact("linear", VALUES[:5], TS[:5] + 0.05).integrate(TS[0] + 0.05, TS[4] + 0.05)
    second += VALUES[0] * 0.05 + VALUES[4] * (TS[-1] - TS[4] - 0.05)
    np.testing.assert_allclose(run.output[-1], first + second + TS[-1] - 2.3, rtol=1e-13)
    assert run.stats["rejected"] == 0


def test_a_run_goes_on_from_a_sample_time():
    samples = ag.Samples(VALUES, TS)
    whole = ag.simulate(relaxation(), [TS[0], TS[5], TS[-1]], inputs=(samples,))
    first = ag.simulate(relaxation(), [TS[0], TS[5]], inputs=(samples,))
    ts = [TS[5], TS[-1]]
    second = ag.simulate(relaxation(), ts, inputs=(samples,), state=first.state)
    np.testing.assert_array_equal(second.output, whole.output[1:])
    assert first.stats["steps"] + second.stats["steps"] == whole.stats["steps"]


def test_the_derivative_of_a_line_is_its_slope():
    at = (TS[:-1] + TS[1:]) / 2
    found = ag.simulate(ag.Deregister("t"), at, inputs=(ag.Samples(VALUES, TS, "linear"),)).output
    np.testing.assert_allclose(found, np.diff(VALUES) / np.diff(TS), rtol=1e-14)


@pytest.mark.parametrize("derivative", [jax.grad, slow(jax.jacfwd)])
def test_an_integral_has_gradients_to_values_and_to_their_times(derivative):
    def total(values, ts):
        calculus = ag.Real(order=4, max_steps=31)
        return area(ag.Samples(values, ts), [TS[0], TS[-1]], calculus=calculus).output[-1]

    # sum over k of values[k] (ts[k+1] - ts[k]); the first sample's time is the start.
    values, ts = jax.jit(derivative(total, (0, 1)))(jnp.asarray(VALUES), jnp.asarray(TS))
    np.testing.assert_allclose(values[:-1], np.diff(TS), rtol=1e-13)
    np.testing.assert_allclose(ts[1:-1], VALUES[:-2] - VALUES[1:-1], rtol=1e-12)
    assert values[-1] == 0


def test_a_spline_has_the_gradients_of_its_values():
    ts = within(TS)

    def total(values):
        samples = ag.Samples(values, TS, "cubic")
        return jnp.sum(ag.simulate(ag.Id(), ts, inputs=(samples,)).output)

    # A spline is linear in its values: entry k is that of the k-th cardinal spline.
    found = jax.jit(jax.grad(total))(jnp.asarray(VALUES))
    cardinal = CubicSpline(TS, np.eye(12))
    expected = np.sum(cardinal(np.clip(ts, TS[0], TS[-1])), axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_a_batch_of_samples_runs_each_to_its_end():
    def last(values, ts):
        return area(ag.Samples(values, ts, "linear"), [0.0, 3.0]).output[-1]

    values, ts = np.outer([1.0, -2.0, 0.5], VALUES), np.add.outer([0.0, 0.2, -0.2], TS)
    one = [exact("linear", row, TS).integrate(0, 3) for row in values]
    np.testing.assert_allclose(jax.vmap(last, (0, None))(values, TS), one, rtol=1e-13)
    other = [exact("linear", *pair).integrate(0, 3) for pair in zip(values, ts, strict=True)]
    np.testing.assert_allclose(jax.vmap(last)(values, ts), other, rtol=1e-13)


def test_nothing_compiles_again_where_values_or_times_change():
    area(ag.Samples(VALUES, TS), [0.0, 1.0])
    with compilations() as programs:
        area(ag.Samples(list(VALUES[::-1]), tuple(TS * 0.5)), [0.0, 1.0])
    assert not programs


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_samples_is_one_kernel(kind):
    def run(values, ts):
        return area(ag.Samples(values, ts, kind), [0.0, 1.0]).output

    many = jnp.linspace(0, 1, 1000)
    assert "xla_cpu_small_call" in jax.jit(run).lower(many, many).as_text()


def test_samples_are_a_pytree_of_their_values_and_times():
    samples = ag.Samples([1, 2], [0, 1])
    assert [leaf.dtype for leaf in jax.tree.leaves(samples)] == ["float64", "float64"]
    assert repr(samples) == "Samples(float64[2], kind='hold')"
    assert len(jax.tree.leaves(ag.Samples([1, 2]))) == 1


MALFORMED = {
    "an unknown kind": (lambda: ag.Samples([1.0], [0.0], "spline"), "hold, linear, cubic"),
    "a number": (lambda: ag.Samples(1.0), "not a number"),
    "words": (lambda: ag.Samples(["one"], [0.0]), "values must be an array of numbers"),
    "times that are words": (lambda: ag.Samples([1.0], ["soon"]), "ts must be an array of numbers"),
    "ragged values": (lambda: ag.Samples([[1.0], [1.0, 2.0]]), "values must be an array"),
    "no samples": (lambda: ag.Samples([], []), "at least 1 sample, not 0"),
    "one sample of a line": (lambda: ag.Samples([1.0], [0.0], "linear"), "at least 2 samples"),
    "three of a spline": (lambda: ag.Samples([1, 2, 3], [0, 1, 2], "cubic"), "at least 4"),
    "fewer times": (lambda: ag.Samples([1.0, 2.0], [0.0]), r"each of the 2 samples.*\(1,\)"),
    "a table of times": (lambda: ag.Samples([1.0, 2.0], [[0.0, 1.0]]), "one time for each"),
    "complex times": (lambda: ag.Samples([1.0], [1j]), "real times"),
    "times that turn": (lambda: ag.Samples([1, 2, 3], [0, 2, 1]), "strictly increasing"),
    "times that stay": (lambda: ag.Samples([1, 2], [1, 1]), "strictly increasing"),
    "times that fall": (lambda: ag.Samples([1, 2], [1, 0]), "strictly increasing"),
    "a time that is none": (lambda: ag.Samples([1, 2], [0, np.nan]), "finite"),
    "a line of numbered samples": (lambda: ag.Samples([1, 2], kind="linear"), "needs the samples'"),
    "no times under Real": (lambda: area(ag.Samples([1, 2]), [0.0, 1.0]), "give the samples"),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.usefixtures("unchecked")
def test_what_is_wrong_with_samples_is_said(name):
    build, message = MALFORMED[name]
    with pytest.raises(ag.CircuitError, match=message):
        build()
