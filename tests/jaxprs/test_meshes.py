"""Runs in `jax.shard_map` with checked types, under explicit meshes, and of symbolic batches.

Each test function here runs in a process of its own, which has two devices.
"""

import functools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import asgard as ag
from asgard.jaxprs import apart

SGD = optax.sgd(0.25)

WHOLE, SPREAD = PartitionSpec(), PartitionSpec("batch")
TS = np.array([0.0, 0.25])
RATE = -1.0
STARTS = np.linspace(0.25, 1.0, 4)
EXACT = STARTS * np.exp(RATE * TS[-1])


def last(rate, start):
    """x' = rate x from `start`, at the last time."""
    circuit = (ag.Scalar(rate) >> ag.Register("t", start) >> ag.Split()).trace()
    quick = ag.Real(order=4, rtol=1e-6, max_steps=31)
    return ag.simulate(circuit, TS, calculus=quick, throw=False).output[-1]


run = jax.vmap(last, in_axes=(None, 0))


def total(run):
    """The sum over a batch, and the batch, from (rate, starts)."""

    def summed(rate, starts):
        found = run(rate, starts)
        return jnp.sum(found), found

    return summed


def gradient(run):
    """The derivatives of the sum over a batch by (rate, starts), and the batch."""
    return jax.grad(total(run), argnums=(0, 1), has_aux=True)


def check(found, *expected):
    for one, other in zip(jax.tree.leaves(found), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


GRADIENTS = np.sum(EXACT) * TS[-1], np.full(4, np.exp(RATE * TS[-1]))
INSIDE = ((WHOLE, SPREAD), SPREAD)


def under_checked_shard_map():
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    # Operands of both kinds: one that varies over the mesh, and one that does not.
    options = {"mesh": mesh, "in_specs": (WHOLE, SPREAD)}
    arguments = jnp.asarray(RATE), jnp.asarray(STARTS)
    spread = jax.shard_map(run, **options, out_specs=SPREAD)
    check(jax.jit(gradient(spread))(*arguments), *GRADIENTS, EXACT)


def derivatives_inside_of_a_checked_shard_map():
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    options = {"mesh": mesh, "in_specs": (WHOLE, SPREAD)}
    arguments = jnp.asarray(RATE), jnp.asarray(STARTS)
    inside = jax.shard_map(gradient(run), **options, out_specs=INSIDE)
    check(jax.jit(inside)(*arguments), *GRADIENTS, EXACT)
    forward = jax.shard_map(jax.jacfwd(run), **options, out_specs=SPREAD)
    check(jax.jit(forward)(*arguments), EXACT * TS[-1])


def under_checked_shard_map_other_runs_than_of_registers():
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    noisy = ag.Scalar(RATE) >> ag.Register("t", 1.0)
    noisy = (
        ag.Split() >> (noisy @ ag.StochasticRegister("t", "W")) >> ag.Add() >> ag.Split()
    ).trace()
    summed = (ag.Register("t", 1.0) >> ag.Split()).trace()
    solve = (ag.Function(lambda u, x: u - jnp.sin(x) / 2, 2) >> ag.Split()).trace()

    def each(u):
        euler = ag.Stochastic(steps=2)
        path = ag.simulate(ag.Id() @ noisy, TS, inputs=(u,), calculus=euler, key=jax.random.key(0))
        samples = ag.Discrete(span=2)
        sums = ag.simulate(ag.Id() @ summed, jnp.arange(3.0), inputs=(u,), calculus=samples)
        series = ag.series(solve, ag.Stream(jnp.stack([u, 1.0 + 0 * u]), "t"), order=2)
        fit = ag.fit(ag.Scalar(u), lambda c: (c.factor - 2.0) ** 2, steps=1, optimizer=SGD)
        numbers = path.outputs[1][-1], sums.outputs[1][-1], series.coefficients
        return *numbers, fit.circuit.factor

    each = jax.vmap(each)
    found = jax.jit(jax.shard_map(each, mesh=mesh, in_specs=SPREAD, out_specs=SPREAD))(STARTS)
    check(found, *jax.jit(each)(STARTS))


def functions_that_close_over_a_shard_are_refused():
    def each(rate):
        quick = ag.Real(order=4, max_steps=8)
        run = ag.simulate(ag.Register("t", 0.0), TS, inputs=(lambda t: rate * t,), calculus=quick)
        return run.output[-1]

    mesh = Mesh(np.array(jax.devices()), ("batch",))
    spread = jax.shard_map(jax.vmap(each), mesh=mesh, in_specs=SPREAD, out_specs=SPREAD)
    with pytest.raises(ag.CircuitError, match=r"closes over an array .* hand the array over as"):
        jax.jit(spread)(STARTS)


def under_explicit_meshes():
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Explicit,))
    arguments = jnp.asarray(RATE), jax.device_put(STARTS, NamedSharding(mesh, SPREAD))
    found = jax.jit(gradient(run))(*arguments)
    check(found, *GRADIENTS, EXACT)
    assert found[1].sharding.spec == SPREAD
    with jax.set_mesh(mesh):
        check(jax.jit(run)(*arguments), EXACT)
        inside = jax.shard_map(gradient(run), in_specs=(WHOLE, SPREAD), out_specs=INSIDE)
        check(jax.jit(inside)(*arguments), *GRADIENTS, EXACT)


def exported_with_a_symbolic_batch():
    (size,) = jax.export.symbolic_shape("size")
    arguments = jax.ShapeDtypeStruct((), float), jax.ShapeDtypeStruct((size,), float)
    each = jax.vmap(jax.value_and_grad(last, argnums=1), in_axes=(None, 0))

    def both(rate, starts):
        def total(starts):
            return jnp.sum(jax.vmap(last, in_axes=(None, 0))(rate, starts))

        return *each(rate, starts), jax.grad(total)(starts)

    exported = jax.export.export(jax.jit(both))(*arguments)
    for count in (1, 4):
        starts, slopes = STARTS[:count], GRADIENTS[1][:count]
        check(exported.call(jnp.asarray(RATE), starts), EXACT[:count], slopes, slopes)


def many_outputs_in_checked_shard_map_and_exported():
    """So many that the run takes them apart in one kernel."""
    scales = np.linspace(0.5, 1.0, apart.MANY)

    def ends(start):
        loops = [
            (ag.Scalar(RATE) >> ag.Register("t", start * scale) >> ag.Split()).trace()
            for scale in scales
        ]
        quick = ag.Real(order=4, rtol=1e-6, max_steps=31)
        outputs = ag.simulate(ag.Monoidal(*loops), TS, calculus=quick, throw=False).outputs
        return jnp.stack([output[-1] for output in outputs])

    def both(starts):
        return jax.vmap(ends)(starts), jax.vmap(jax.grad(lambda start: ends(start)[-1]))(starts)

    expected = EXACT[:, None] * scales, GRADIENTS[1]
    assert "asgard_apart" in str(jax.make_jaxpr(both)(STARTS))
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    spread = jax.shard_map(both, mesh=mesh, in_specs=SPREAD, out_specs=SPREAD)
    check(jax.jit(spread)(STARTS), *expected)
    (size,) = jax.export.symbolic_shape("size")
    exported = jax.export.export(jax.jit(both))(jax.ShapeDtypeStruct((size,), float))
    assert "xla_cpu_small_call" not in exported.mlir_module()
    check(exported.call(STARTS), *expected)


QUICK = (
    under_checked_shard_map_other_runs_than_of_registers,
    functions_that_close_over_a_shard_are_refused,
    under_explicit_meshes,
    exported_with_a_symbolic_batch,
)
SLOW = (
    under_checked_shard_map,
    derivatives_inside_of_a_checked_shard_map,
    many_outputs_in_checked_shard_map_and_exported,
)
PROCESS = """
import sys
import jax
sys.path.insert(0, sys.argv[1])
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
import test_meshes
for test in getattr(test_meshes, sys.argv[2]):
    try:
        test()
    except Exception:
        import traceback
        traceback.print_exc()
    else:
        print(test.__name__)
"""


@functools.cache
def passed(tier):
    """The functions that pass in a process of two devices, and what the others say."""
    command = [sys.executable, "-c", PROCESS, str(Path(__file__).parent), tier]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.split(), found.stderr


LATE = [pytest.param("SLOW", test.__name__, marks=pytest.mark.slow) for test in SLOW]


@pytest.mark.parametrize(("tier", "name"), [*(("QUICK", test.__name__) for test in QUICK), *LATE])
def test_runs_have_their_values(tier, name):
    names, errors = passed(tier)
    assert name in names, errors
