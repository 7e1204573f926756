"""Delays by many samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

SAMPLES = np.arange(1.0, 13.0)


@pytest.mark.parametrize("by", [1, 2, 5])
def test_samples_come_later_by_so_many_also_in_chunks(by):
    shift = ag.compile(ag.Delay("n", -1.0, by=by), ag.Discrete())
    wanted = np.concatenate([-np.ones(by), SAMPLES])[:12]
    np.testing.assert_array_equal(shift((SAMPLES,), None)[0], wanted)
    first, state = shift((SAMPLES[:5],), None)
    rest, _ = shift((SAMPLES[5:],), state)
    np.testing.assert_array_equal(np.concatenate([first, rest]), wanted)


def test_narayanas_cows():
    """f[n] = f[n - 1] + f[n - 3]: a cow has a calf each year from its fourth on."""
    before = ag.Delay("n", 1.0) @ ag.Delay("n", 1.0, by=3)
    cows = (before >> ag.Add() >> ag.Split(3)).trace(2)
    found = ag.simulate(cows, range(10), calculus=ag.Discrete()).output
    np.testing.assert_array_equal(found, [2, 3, 4, 6, 9, 13, 19, 28, 41, 60])


def test_one_value_for_vectors_and_vectors_for_one():
    rows = np.arange(24.0).reshape(12, 2)
    pair = ag.Delay("n", by=1) >> ag.Delay("n", by=2)
    found, _ = ag.compile(pair, ag.Discrete())((rows,), None)
    np.testing.assert_array_equal(found, np.concatenate([np.zeros((3, 2)), rows[:-3]]))
    wide, _ = ag.compile(ag.Delay("n", [7.0, 8.0], by=2), ag.Discrete())((SAMPLES,), None)
    np.testing.assert_array_equal(wide[:3], [[7.0, 8.0], [7.0, 8.0], [1.0, 1.0]])


def test_a_traced_delay_has_a_bound():
    calculus = ag.Discrete(max_delay=4)
    samples = ag.Samples(SAMPLES)

    @jax.jit
    def run(by):
        circuit = ag.Delay("n", -1.0, by=by)
        return ag.simulate(circuit, range(12), inputs=(samples,), calculus=calculus, throw=False)

    for by in (1, 4):
        np.testing.assert_array_equal(run(1.0 * by).output[by:], SAMPLES[: 12 - by])
    for by in (5.0, 1.5, 0.0):
        assert run(by).status == ag.Status.nonfinite
    with pytest.raises(ag.CircuitError, match=r"by is traced: say .*max_delay"):
        jax.jit(unbounded)(2.0)


def unbounded(by):
    circuit = ag.Delay("n", by=by)
    return ag.simulate(circuit, [0, 1], inputs=(1.0,), calculus=ag.Discrete()).output


def test_a_steady_state_is_the_same_earlier():
    doubled = ag.Delay("t", 0.0, by=2.0) >> ag.Scalar(2.0)
    found = ag.simulate(doubled, [0.0, 1.0], inputs=(3.0,), calculus=ag.Steady())
    np.testing.assert_array_equal(found.output, [6.0, 6.0])


ERRORS = {
    "half a sample": (ag.Delay("n", by=1.5), {}, "whole number of samples, not 1.5"),
    "past the bound": (ag.Delay("n", by=9), {"max_delay": 4}, "a delay takes 9 samples"),
    "a function": (ag.Delay("n", jnp.cos, by=2), {}, "belongs to Real"),
    "in parallel": (ag.Delay("n", by=2), {"parallel": True}, "sample by sample"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    circuit, options, message = ERRORS[case]
    with pytest.raises(ag.CircuitError, match=message):
        ag.simulate(circuit, range(3), inputs=(1.0,), calculus=ag.Discrete(**options))
    with pytest.raises(ag.CircuitError, match="max_delay must be an integer"):
        ag.Discrete(max_delay=0)
