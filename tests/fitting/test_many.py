"""Fits from many starts: the best, all, how many agree; one by one and on several devices."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import compilations
from jax.sharding import Mesh

import asgard as ag

START = ag.Scalar(1.0) >> ag.Const(0.0) @ ag.Id()
FACTORS = [-2.0, -0.5, 0.4, 1.5, 3.0]


def valleys(circuit):
    """Two valleys: 0 deep at a factor of -1, and 0.5 deep near 1."""
    numbers = ag.parameters(circuit)
    factor = numbers["scalar.factor"]
    return (factor**2 - 1) ** 2 + 0.25 * (factor + 1) + numbers["const.value"] ** 2


def starts():
    return [ag.update(START, {"scalar.factor": factor}) for factor in FACTORS]


def fitted(circuits, **options):
    options = {"optimizer": optax.adam(0.05), "steps": 300} | options
    return ag.fit_ensemble(circuits, valleys, **options)


def factors(fits):
    return np.asarray(ag.parameters(fits.circuit)["scalar.factor"])


@pytest.fixture(scope="module")
def found():
    return fitted(starts())


def test_the_best_all_and_how_many_agree(found):
    at = factors(found.all)
    assert np.all(at[:2] < -1)
    assert np.all(at[2:] > 0.9)
    assert found.agree == 2
    assert factors(found.best) == at[np.argmin(found.all.loss)]
    assert found.best.loss == np.min(found.all.loss)
    assert found.best.losses.shape == (300,)
    assert found.all.losses.shape == (5, 300)


def test_each_fit_is_that_of_its_start_alone(found):
    for place, circuit in enumerate(starts()):
        alone = ag.fit(circuit, valleys, optimizer=optax.adam(0.05), steps=300)
        np.testing.assert_allclose(found.all.losses[place], alone.losses, rtol=1e-12)
        np.testing.assert_allclose(factors(found.all)[place], factors(alone), rtol=1e-12)


def test_starts_stacked_in_one_circuit_are_the_same_and_compile_no_second_time(found):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts())
    with compilations() as programs:
        again = fitted(stacked)
    np.testing.assert_array_equal(again.all.losses, found.all.losses)
    assert not programs


def test_starts_end_each_at_its_own_step():
    found = fitted(starts(), tol=0.05)
    assert len(set(found.all.steps.tolist())) == 5
    assert np.all(found.all.status == ag.FitStatus.converged)


def test_fits_show_their_progress_and_go_on_from_a_checkpoint(found, tmp_path):
    told, path = [], tmp_path / "fits"

    def stop(step, *_):
        if step >= 200:
            raise KeyboardInterrupt

    def same(one):
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(found), strict=True)
        return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)

    shown = fitted(starts(), every=100, progress=lambda *now: told.append(now))
    assert same(shown)
    assert [now[:2] for now in told] == [(100, 300), (200, 300), (300, 300)]
    assert told[-1][2] == float(found.best.loss)
    with pytest.raises(ag.Interrupted, match="at step 200 of 300") as stopped:
        fitted(starts(), every=100, progress=stop, checkpoint=path)
    part = stopped.value.result
    assert np.all(part.all.status == ag.FitStatus.interrupted)
    np.testing.assert_array_equal(part.all.losses[:, :200], found.all.losses[:, :200])
    assert same(fitted(starts(), checkpoint=path))
    with pytest.raises(ag.CircuitError, match="checkpoint of another fit"):
        fitted(starts()[::-1], checkpoint=path)
    with pytest.raises(ag.CircuitError, match="checkpoint of another fit"):
        fitted(starts()[1:], checkpoint=path)
    longer = fitted(starts(), checkpoint=path, steps=310)
    np.testing.assert_array_equal(longer.all.losses[:, :300], found.all.losses)
    assert np.all(longer.all.steps == 310)


def test_of_fits_that_end_early_the_others_go_on():
    whole, told = fitted(starts(), tol=0.05), []
    shown = fitted(starts(), tol=0.05, every=40, progress=lambda *now: told.append(now[0]))
    np.testing.assert_array_equal(shown.all.losses, whole.all.losses)
    np.testing.assert_array_equal(shown.all.steps, whole.all.steps)
    assert told[-1] == np.max(whole.all.steps)


@pytest.mark.slow
def test_starts_draw_each_from_a_key_of_its_own():
    def drawn(circuit, key):
        return jax.random.normal(key) + 0 * valleys(circuit)

    key = jax.random.key(5)
    options = {"optimizer": optax.sgd(0.1), "steps": 3}
    found = ag.fit_ensemble(starts(), drawn, key=key, **options).all.losses
    assert len(np.unique(found)) == 15
    alone = ag.fit(START, drawn, key=jax.random.fold_in(key, 3), **options).losses
    np.testing.assert_array_equal(found[3], alone)


def test_failed_starts_are_never_the_best_and_only_all_of_them_raise():
    def broken(circuit):
        factor = ag.parameters(circuit)["scalar.factor"]
        return jnp.where(factor < 0, jnp.log(factor), valleys(circuit))

    options = {"optimizer": optax.adam(0.05), "steps": 300}
    found = ag.fit_ensemble(starts(), broken, **options)
    failed = found.all.status == ag.FitStatus.nonfinite
    np.testing.assert_array_equal(failed, [True, True, False, False, False])
    assert found.agree == 3
    assert factors(found.best) > 0.9
    with pytest.raises(ag.FitError, match="in 2 of 5 fits"):
        found.all.check()
    with pytest.raises(ag.FitError, match="all 2 fits failed"):
        ag.fit_ensemble(starts()[:2], broken, **options)
    none = ag.fit_ensemble(starts()[:2], broken, **options, throw=False)
    assert none.all.steps.shape == (2,)
    assert none.agree == 0


def test_a_mesh_of_one_device_changes_nothing(found):
    on_mesh = fitted(starts(), mesh=Mesh(np.array(jax.devices()[:1]), ("starts",)))
    np.testing.assert_array_equal(on_mesh.all.losses, found.all.losses)


ON_TWO_DEVICES = """
import os
import sys
import jax
sys.path[:0] = [sys.argv[1], os.path.dirname(sys.argv[1])]
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
import numpy as np
from jax.sharding import Mesh
from test_many import fitted, starts

mesh = Mesh(np.array(jax.devices()), ("starts",))
text = jax.jit(lambda c: fitted(c, mesh=mesh).all.losses).lower(
    jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *starts())
).compile().as_text()
loop = [line for line in text.splitlines() if "while(" in line]
waits = [line for line in text.splitlines() if " all-reduce" in line and "while" in line]
print(len(jax.devices()), len(loop) > 0, len(waits))
print(fitted(starts(), mesh=mesh).all.losses.tolist())
"""


@pytest.mark.slow
def test_devices_share_the_starts_and_do_not_wait_for_one_another(found):
    # Five starts on two devices: the last is padded.
    command = [sys.executable, "-c", ON_TWO_DEVICES, os.path.dirname(__file__)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    first, losses = run.stdout.splitlines()
    assert first == "2 True 0"
    np.testing.assert_allclose(json.loads(losses), found.all.losses, rtol=1e-12)


@pytest.mark.parametrize(
    ("circuits", "says"),
    [
        (START, "several circuits, or one whose arrays"),
        ([], "circuits to start from"),
        ([START, 3], "circuits to start from"),
        ([START, ag.Scalar(1.0)], "one structure"),
        ([ag.Scalar(1.0), ag.Scalar([1.0, 2.0])], "same shapes"),
        (3.0, "circuits to start from"),
    ],
)
def test_starts_that_do_not_go_together_are_refused(circuits, says, unchecked):
    with pytest.raises(ag.CircuitError, match=says):
        fitted(circuits)


@pytest.mark.parametrize("options", [{"mesh": "x"}, {"agreement": "x"}, {"agreement": -1.0}])
def test_a_mesh_and_an_agreement_of_a_wrong_kind_are_refused(options, unchecked):
    with pytest.raises(ag.CircuitError, match=f"{next(iter(options))} must be"):
        fitted(starts(), **options)
