"""Long fits: progress, checkpoints, and what an interruption loses."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgard as ag

START = ag.Scalar(3.0) >> ag.Const(-2.0) @ ag.Id()
DATA = jnp.arange(10.0)


def loss(circuit, data, key):
    numbers = ag.parameters(circuit)
    target = jnp.mean(data) + 0.1 * jax.random.normal(key)
    return (numbers["scalar.factor"] - target) ** 2 + numbers["const.value"] ** 2


def fitted(circuit=START, data=DATA, **options):
    # Noise of optax, so that the optimiser's state holds a key.
    optimizer = optax.chain(optax.add_noise(0.01, 0.5, key=jax.random.key(3)), optax.adam(0.1))
    options = {"optimizer": optimizer, "steps": 25, "batch": 4, "every": 4} | options
    return ag.fit(circuit, loss, args=(data,), key=jax.random.key(1), **options)


@pytest.fixture(scope="module")
def whole():
    return fitted()


def same(one, other):
    np.testing.assert_array_equal(one.losses, other.losses)
    assert ag.parameters(one.circuit) == ag.parameters(other.circuit)
    assert one.steps == other.steps
    return one.status == other.status


class Interrupted(Exception):
    """As Ctrl-C would raise."""


def interrupt_at(step):
    def report(now, steps, loss):
        if now >= step:
            raise Interrupted

    return report


def test_progress_is_told_every_so_many_steps_and_changes_nothing(whole):
    told = []
    assert same(fitted(progress=lambda *now: told.append(now)), whole)
    assert [step for step, _, _ in told] == [4, 8, 12, 16, 20, 24, 25]
    assert {steps for _, steps, _ in told} == {25}
    np.testing.assert_array_equal([loss for _, _, loss in told], whole.losses[np.r_[3:24:4, 24]])


def test_progress_without_tqdm_is_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    fitted(progress=True, steps=6)
    lines = capsys.readouterr().err.splitlines()
    assert [line[: line.index(":")] for line in lines] == ["step 4 of 6", "step 6 of 6"]


def test_progress_with_tqdm_is_a_bar(monkeypatch):
    calls = []

    class Bar:
        n = 0

        def __init__(self, total):
            calls.append(total)

        def update(self, steps):
            self.n += steps
            calls.append(steps)

        def set_postfix(self, loss, refresh):
            calls.append(bool(float(loss)))

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=Bar))
    fitted(progress=True, steps=6)
    assert calls == [6, True, 4, True, 2]


def test_a_fit_that_ends_early_reports_its_last_loss():
    told = []
    options = {"optimizer": optax.sgd(0.4), "progress": lambda *now: told.append(now)}
    found = ag.fit(
        START, lambda c: ag.parameters(c)["const.value"] ** 2, **options, steps=50, tol=0.1
    )
    assert found.status == ag.FitStatus.converged
    assert told == [(int(found.steps), 50, float(found.loss))]


@pytest.mark.parametrize("step", [4, 12, 24])
def test_an_interrupted_fit_goes_on_to_the_same_bits(step, whole, tmp_path):
    path = tmp_path / "fit"
    with pytest.raises(Interrupted):
        fitted(checkpoint=path, progress=interrupt_at(step))
    steps = []
    again = fitted(checkpoint=path, progress=lambda now, *_: steps.append(now))
    assert same(again, whole)
    # Nothing was lost but what had not been saved, and no step was taken twice.
    assert steps[0] == min(step + 4, 25)
    assert [child.name for child in tmp_path.iterdir()] == ["fit"]


def test_a_finished_fit_is_read_from_its_checkpoint(whole, tmp_path):
    path = tmp_path / "fit"
    assert same(fitted(checkpoint=str(path)), whole)
    told = []
    assert same(fitted(checkpoint=path, progress=lambda *now: told.append(now[0])), whole)
    assert told == [25]


@pytest.mark.parametrize(
    "options",
    [
        {"data": DATA + 1},
        {"circuit": ag.update(START, {"scalar.factor": 2.0})},
        {"steps": 26},
        {"optimizer": optax.sgd(0.1)},
        {"trainable": "const.value"},
    ],
    ids=["data", "start", "steps", "optimiser", "trainable"],
)
def test_the_checkpoint_of_another_fit_is_refused(options, tmp_path):
    path = tmp_path / "fit"
    fitted(checkpoint=path)
    with pytest.raises(ag.CircuitError, match="checkpoint of another fit"):
        fitted(checkpoint=path, **options)


def test_under_a_transformation_nothing_is_saved_or_shown(tmp_path, whole):
    told = []

    def run(circuit, **options):
        return fitted(circuit, **options).losses

    losses = jax.jit(lambda c: run(c, progress=lambda *now: told.append(now)))(START)
    np.testing.assert_allclose(losses, whole.losses, rtol=1e-12)
    assert told == []
    with pytest.raises(ag.CircuitError, match="no checkpoint"):
        jax.jit(lambda c: run(c, checkpoint=tmp_path / "fit"))(START)
