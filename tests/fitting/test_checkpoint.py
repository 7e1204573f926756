"""Long fits: progress, checkpoints, and what an interruption loses."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tqdm

import asgard as ag

START = ag.Scalar(3.0) >> ag.Const(-2.0) @ ag.Id()
DATA = jnp.arange(10.0)


def loss(circuit, data, key):
    numbers = ag.parameters(circuit)
    target = jnp.mean(data) + 0.1 * jax.random.normal(key)
    return (numbers["scalar.factor"] - target) ** 2 + numbers["const.value"] ** 2


def noisy(optimizer):
    """With noise of optax, so that the optimiser's state holds a key."""
    return optax.chain(optax.add_noise(0.01, 0.5, key=jax.random.key(3)), optimizer)


def fitted(circuit=START, data=DATA, loss=loss, **options):
    defaults = {"optimizer": noisy(optax.adam(0.1)), "steps": 25, "batch": 4, "every": 4}
    options = defaults | {"key": jax.random.key(1)} | options
    return ag.fit(circuit, loss, args=(data,), **options)


@pytest.fixture(scope="module")
def whole():
    return fitted()


def same(one, other):
    np.testing.assert_array_equal(one.losses, other.losses)
    assert ag.parameters(one.circuit) == ag.parameters(other.circuit)
    assert one.steps == other.steps
    return one.status == other.status


class Stopped(Exception):
    """As Ctrl-C would raise."""


def interrupt_at(step):
    def report(now, steps, loss):
        if now >= step:
            raise Stopped

    return report


def test_progress_is_told_every_so_many_steps_and_changes_nothing(whole):
    told = []
    assert same(fitted(progress=lambda *now: told.append(now)), whole)
    assert [step for step, _, _ in told] == [4, 8, 12, 16, 20, 24, 25]
    assert {steps for _, steps, _ in told} == {25}
    losses = [loss for _, _, loss in told]
    np.testing.assert_array_equal(losses, [*whole.losses[3:24:4], whole.loss])


def test_progress_without_tqdm_is_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    fitted(progress=True, steps=6)
    lines = capsys.readouterr().err.splitlines()
    assert [line[: line.index(":")] for line in lines] == ["step 4 of 6", "step 6 of 6"]


def test_progress_with_tqdm_is_a_bar_that_is_closed(monkeypatch):
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    found = fitted(progress=True, steps=6)
    (bar,) = bars
    assert (bar.n, bar.total, bar.postfix) == (6, 6, f"loss={float(found.loss):.6g}")
    assert bar.disable  # as it is once closed


def test_a_fit_that_ends_early_reports_its_last_loss():
    told = []
    options = {"optimizer": optax.sgd(0.4), "progress": lambda *now: told.append(now)}
    found = ag.fit(
        START,
        lambda c: ag.parameters(c)["const.value"] ** 2,
        **options,
        steps=50,
        tol=0.1,
        every=100,
    )
    assert found.status == ag.FitStatus.converged
    assert told == [(int(found.steps), 50, float(found.loss))]


@pytest.mark.parametrize("step", [4, 12, 24])
def test_an_interrupted_fit_goes_on_to_the_same_bits(step, whole, tmp_path):
    path = tmp_path / "fit"
    with pytest.raises(Stopped):
        fitted(checkpoint=path, progress=interrupt_at(step))
    steps = []
    again = fitted(checkpoint=path, progress=lambda now, *_: steps.append(now))
    assert same(again, whole)
    # Nothing was lost but what had not been saved, and no step was taken twice.
    assert steps[0] == min(step + 4, 25)
    assert [child.name for child in tmp_path.iterdir()] == ["fit"]


def test_a_fit_is_extended_past_its_steps_to_the_same_bits(whole, tmp_path):
    path = tmp_path / "fit"
    short = fitted(checkpoint=path, steps=6)
    assert short.losses.shape == (6,)
    told = []
    longer = fitted(checkpoint=path, progress=lambda *now: told.append(now))
    assert same(longer, whole)
    assert told[0][:2] == (10, 25)
    with pytest.raises(ag.CircuitError, match="holds a fit of 25 steps, and steps=6 are fewer"):
        fitted(checkpoint=path, steps=6)


def test_ctrl_c_leaves_the_fit_so_far_and_a_state(whole, tmp_path):
    def stop(step, steps, loss):
        if step >= 8:
            raise KeyboardInterrupt

    with pytest.raises(ag.Interrupted, match="at step 8 of 25") as stopped:
        fitted(progress=stop)
    part = stopped.value.result
    assert part.status == ag.FitStatus.interrupted
    np.testing.assert_array_equal(part.losses[:8], whole.losses[:8])
    assert np.isnan(part.losses[8:]).all()
    rest = fitted(state=part.state, steps=17)
    np.testing.assert_array_equal(rest.losses, whole.losses[8:])
    assert ag.parameters(rest.circuit) == ag.parameters(whole.circuit)
    # With a checkpoint the same call goes on; before the first step nothing is there to keep.
    with pytest.raises(ag.Interrupted, match=str(tmp_path)):
        fitted(progress=stop, checkpoint=tmp_path / "fit")
    assert same(fitted(checkpoint=tmp_path / "fit"), whole)


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
        {"optimizer": optax.sgd(0.1)},
        {"optimizer": noisy(optax.adam(0.2))},
        {"trainable": "const.value"},
        {"batch": 5},
        {"loss": lambda circuit, data, key: loss(circuit, data, key) + 1.0},
        {"key": jax.random.key(2)},
    ],
    ids=["data", "start", "optimiser", "rate", "trainable", "batch", "loss", "key"],
)
def test_the_checkpoint_of_another_fit_is_refused(options, tmp_path):
    path = tmp_path / "fit"
    fitted(checkpoint=path)
    with pytest.raises(ag.CircuitError, match="checkpoint of another fit"):
        fitted(checkpoint=path, **options)


def test_a_loss_is_compared_by_what_it_gives(tmp_path):
    def reached(shift):
        options = {"optimizer": optax.sgd(0.1), "steps": 4, "checkpoint": tmp_path / "fit"}
        return ag.fit(START, lambda c: ag.parameters(c)["const.value"] ** 2 + shift, **options)

    # Made anew, it is another function with the same losses.
    assert same(reached(0.0), reached(0.0))
    with pytest.raises(ag.CircuitError, match="checkpoint of another fit"):
        reached(0.01)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "fit"
    options = {"checkpoint": path, "steps": 6}
    fitted(**options)
    whole = path.read_bytes()
    flipped = [bytearray(whole) for _ in range(4)]
    for content, index in zip(flipped, (3, 40, 200, len(whole) - 1), strict=True):
        content[index] ^= 1
    for content in (b"", whole[:40], whole[:200], whole[:-1], whole + b"\0", *flipped):
        path.write_bytes(content)
        with pytest.raises(ag.CircuitError, match="damaged"):
            fitted(**options)
    path.write_bytes(whole)
    assert fitted(**options).steps == 6


def refuse(monkeypatch, number):
    """Makes the disk refuse what is written to it."""

    def full(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)


def test_a_disk_that_is_full_at_the_start_is_an_error_before_the_first_step(monkeypatch, tmp_path):
    told = []
    with monkeypatch.context() as context:
        refuse(context, errno.ENOSPC)
        with pytest.raises(ag.CircuitError, match="cannot be written: No space left"):
            fitted(checkpoint=tmp_path / "fit", progress=lambda *now: told.append(now))
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_loses_nothing_that_was_saved(monkeypatch, tmp_path, whole):
    path = tmp_path / "fit"

    def report(now, *_):
        if now >= 12:
            refuse(context, errno.ENOSPC)

    says = pytest.raises(ag.CircuitError, match=r"No space left .* still holds the fit")
    with monkeypatch.context() as context, says:
        fitted(checkpoint=path, progress=report)
    assert list(tmp_path.iterdir()) == [path]
    steps = []
    assert same(fitted(checkpoint=path, progress=lambda now, *_: steps.append(now)), whole)
    assert steps[0] == 16


def test_a_place_that_cannot_be_written_is_an_error_before_the_first_step(monkeypatch, tmp_path):
    told = []
    (tmp_path / "folder").mkdir()
    places = {"folder": "is not a file", "none/fit": "no folder", "locked/fit": "Permission denied"}
    (tmp_path / "locked").mkdir(mode=0o500)
    opened = Path.open

    def open_(self, *options):  # root may write into a locked folder
        if self.parent.name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(self, *options)

    monkeypatch.setattr(Path, "open", open_)
    for path, says in places.items():
        with pytest.raises(ag.CircuitError, match=says):
            fitted(checkpoint=tmp_path / path, progress=lambda *now: told.append(now))
    assert told == []


@pytest.mark.slow
def test_another_process_goes_on_to_the_same_bits(tmp_path):
    code = """
import sys, jax, jax.numpy as jnp, optax, asgard as ag
jax.config.update("jax_enable_x64", True)

def loss(circuit, data):
    return jnp.mean((circuit.parts[0].factor - jnp.sin(data)) ** 2)

def report(step, steps, value):
    if step == int(sys.argv[2]):
        raise SystemExit

found = ag.fit(
    ag.Scalar(3.0) >> ag.Function(lambda x: x, 1), loss, args=(jnp.arange(9.0),),
    optimizer=optax.adam(0.1), steps=30, progress=report, checkpoint=sys.argv[1] or None, every=10,
)
print(found.losses.tobytes().hex(), found.circuit.parts[0].factor.tobytes().hex())
"""
    path = str(tmp_path / "fit")
    runs = [("", "-1"), (path, "10"), (path, "20"), (path, "-1")]
    first, *broken, last = (
        subprocess.run([sys.executable, "-c", code, *run], capture_output=True, check=True).stdout
        for run in runs
    )
    assert broken == [b"", b""]
    assert first == last != b""


def test_under_a_transformation_nothing_is_saved_or_shown(tmp_path, whole):
    told = []

    def run(circuit, **options):
        return fitted(circuit, **options).losses

    losses = jax.jit(lambda c: run(c, progress=lambda *now: told.append(now)))(START)
    np.testing.assert_allclose(losses, whole.losses, rtol=1e-12)
    assert told == []
    with pytest.raises(ag.CircuitError, match="no checkpoint"):
        jax.jit(lambda c: run(c, checkpoint=tmp_path / "fit"))(START)
