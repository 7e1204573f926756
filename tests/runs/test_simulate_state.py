"""A run that is interrupted goes on as if it had not been."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow
from systems import decay, lorenz, relaxation

import asgard as ag


def in_pieces(circuit, ts, cuts, **options):
    """A run cut at some of its times: the trajectories of its pieces."""
    edges = [0, *np.searchsorted(ts, cuts), len(ts) - 1]
    pieces, state = [], None
    for begin, end in itertools.pairwise(edges):
        pieces.append(ag.simulate(circuit, ts[begin : end + 1], state=state, **options))
        state = pieces[-1].state
    return pieces


# The tests of one cut share their programs.
TS = np.array([0.0, 0.01, 0.02, 0.5, 1.0, 1.01, 1.5, 2.0])


@pytest.mark.parametrize("cuts", [[1.0], slow([0.5, 1.0, 1.01, 1.5]), slow([0.01, 0.02])])
def test_pieces_of_a_run_take_the_steps_of_the_whole(cuts):
    whole = ag.simulate(lorenz(), TS)
    pieces = in_pieces(lorenz(), TS, cuts)
    steps = sum(int(piece.stats["steps"]) for piece in pieces)
    assert steps == whole.stats["steps"]
    found = np.concatenate([pieces[0].output, *(piece.output[1:] for piece in pieces[1:])])
    np.testing.assert_allclose(found, whole.output, rtol=1e-14)


def test_the_state_of_pieces_is_the_state_of_the_whole():
    whole = ag.simulate(lorenz(), TS)
    _, second = in_pieces(lorenz(), TS, [1.0])
    for one, other in zip(jax.tree.leaves(whole.state), jax.tree.leaves(second.state), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_pieces_with_an_input_backward_in_time_take_the_steps_of_the_whole():
    ts = np.array([3.0, 1.2, 0.0])
    options = {"inputs": (jnp.sin,)}
    whole = ag.simulate(relaxation(), ts, **options)
    first = ag.simulate(relaxation(), ts[:2], **options)
    second = ag.simulate(relaxation(), ts[1:], state=first.state, **options)
    assert first.stats["steps"] + second.stats["steps"] == whole.stats["steps"]
    np.testing.assert_allclose(second.output, whole.output[1:], rtol=1e-14)


def test_a_state_survives_a_file(tmp_path):
    first, second = in_pieces(lorenz(), TS, [1.0])
    eqx.tree_serialise_leaves(tmp_path / "state.eqx", first.state)
    like = ag.simulate(lorenz(), TS[:5] / 10).state
    state = eqx.tree_deserialise_leaves(tmp_path / "state.eqx", like)
    again = ag.simulate(lorenz(), TS[4:], state=state)
    np.testing.assert_array_equal(again.output, second.output)


def test_a_run_may_go_on_from_later_than_it_ended():
    first = ag.simulate(decay(), [0.0, 1.0])
    later = ag.simulate(decay(), [1.5, 2.0], state=first.state)
    np.testing.assert_allclose(later.output, np.exp([-1.5, -2.0]), rtol=1e-14)
