"""The laws of trace for loops that no register cuts, by value, on random contractions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

LAW = settings(max_examples=12, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
INPUT = 0.3


def contraction(seed, n_in, n_out, gain=0.7):
    """A smooth function n_in -> n_out, of which no output moves by more than `gain` times what the
    inputs do."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(-1, 1, (n_out, n_in))
    weights *= gain / np.abs(weights).sum(axis=1, keepdims=True)
    shifts = rng.uniform(-1, 1, n_out)
    return ag.Function(jax.tree_util.Partial(affine_tanh, weights, shifts), n_in, n_out)


def affine_tanh(weights, shifts, *values):
    """With its numbers as arguments, so that one compilation serves them all."""
    return tuple(jnp.tanh(weights @ jnp.stack(values) + shifts))


def values(circuit):
    streams = [ag.Stream([INPUT + 0.1 * place], "t") for place in range(circuit.n_in)]
    found = ag.series(circuit, *streams, order=0)
    found = found if isinstance(found, tuple) else (found,)
    return [float(stream.coefficients[0]) for stream in found]


def equal(left, right):
    # A contraction by 0.7 magnifies rounding by at most 1 / 0.3, here of a few functions.
    np.testing.assert_allclose(values(left), values(right), rtol=0, atol=64 * np.finfo(float).eps)


@LAW
@given(SEEDS, st.integers(1, 2))
def test_sliding(seed, wires):
    f, g = contraction(seed, 1 + wires, 1 + wires), contraction(seed + 1, wires, wires)
    equal((f >> ag.Id() @ g).trace(wires), (ag.Id() @ g >> f).trace(wires))


@LAW
@given(SEEDS)
def test_vanishing(seed):
    f = contraction(seed, 3, 3)
    equal(f.trace(2), f.trace().trace())


@LAW
@given(SEEDS)
def test_tightening(seed):
    f = contraction(seed, 2, 2)
    before, after = contraction(seed + 1, 1, 1), contraction(seed + 2, 1, 1)
    equal((before @ ag.Id() >> f >> after @ ag.Id()).trace(), before >> f.trace() >> after)


@LAW
@given(SEEDS)
def test_superposing(seed):
    f, g = contraction(seed, 2, 2), contraction(seed + 1, 1, 1)
    equal((g @ f).trace(), g @ f.trace())


@LAW
@given(SEEDS)
def test_yanking(seed):
    f = contraction(seed, 2, 2)
    # A wire pulled straight inside a loop.
    bent = (f @ ag.Id() >> ag.Id() @ ag.Swap()).trace()
    equal(bent.trace(), f.trace())
    equal(ag.Swap().trace() >> f.trace(), f.trace())
