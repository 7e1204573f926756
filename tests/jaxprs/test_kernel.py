"""Runs that the CPU compiles as one kernel, and those that it cannot.

The value of a kernel is held against that of the same run compiled operation by operation.
"""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow
from jax import lax
from systems import lorenz, lorenz_of_wires, ode

import asgard as ag
from asgard.jaxprs.kernel import as_kernel

TS = jnp.array([0.0, 0.1, 0.25])
QUICK = ag.Real(order=6, rtol=1e-6, max_steps=63)
MARK = "xla_cpu_small_call"
WEIGHTS = np.linspace(-1, 1, 9).reshape(3, 3)

TAKEN = {
    "arithmetic": lambda x: x * (1 - x) / (2 + x * x),
    "elementary": lambda x: jnp.exp(-x) + jnp.log(2 + x) + jnp.sqrt(2 + x) + jnp.tanh(x) ** 3,
    "circular": lambda x: jnp.sin(x) + jnp.cos(x) + jnp.tan(x / 3) + jnp.arctan(x),
    "inverse": lambda x: jnp.arcsin(x / 4) + jnp.arccos(x / 4) + jnp.arcsinh(x) + jnp.arctan2(x, 2),
    "error functions": lambda x: lax.erf(x) + lax.erfc(x) + lax.logistic(x),
    "branches": lambda x: jnp.where(x > 0, x, -x) + jnp.maximum(x, 3.0) + jnp.clip(x, -4, 4),
    "reductions": lambda x: -x * jnp.sum(x) / (4 + jnp.max(x)) + jnp.cumsum(x),
    "a constant matrix": lambda x: jnp.asarray(WEIGHTS) @ x,
    "a constant of the trace": lambda x: jnp.arange(3.0) - x,
    "numbers in a row": lambda x: jnp.stack([1.0, 2.0, -1.0]) - x,
    "a range between zeros": lambda x: jnp.pad(jnp.arange(1.0, 2.0), 1) - x,
    "an identity matrix": lambda x: jnp.eye(3)[::-1] @ x,
    "numbers in a row in a loop": lambda x: lax.fori_loop(
        0, 3, lambda _, y: y / 2 + jnp.stack([1.0, 2.0, -1.0]), -x
    ),
    "concatenation": lambda x: jnp.concatenate([x[1:], -x[:1]]),
    "rolling": lambda x: jnp.roll(x, 1) - x,
    "padding": lambda x: jnp.pad(x, 1)[2:] - x,
    "fancy indices": lambda x: x[jnp.array([2, 0, 1])] - x,
    "a complex middle": lambda x: jnp.real(jnp.exp(1j * x) * (1 + 2j)),
}
NOT_TAKEN = {
    "a product of matrices": lambda x: (jnp.outer(x, jnp.tile(x, 30)) @ jnp.tile(WEIGHTS, (30, 1)))[
        0
    ],
    "a Fourier transform": lambda x: -jnp.real(jnp.fft.ifft(jnp.fft.fft(x))),
}


def last(field, x):
    return ag.simulate(ode(field, x), TS, calculus=QUICK).output[-1]


def is_kernel(fn, *arguments):
    return MARK in jax.jit(fn).lower(*arguments).as_text()


def compiled(fn, *arguments):
    """The function for arguments like these, and whether it is a kernel, from one lowering."""
    lowered = jax.jit(fn).lower(*arguments)
    return lowered.compile(), MARK in lowered.as_text()


def test_products_of_a_matrix_and_a_vector_make_a_kernel_longer():
    matrix = jnp.asarray(WEIGHTS)

    def twice(longest):
        fn = functools.partial(as_kernel, lambda x: [matrix @ (matrix @ x)], longest=longest)
        return is_kernel(lambda x: fn(x)[0], jnp.ones(3))

    assert twice(2)
    assert not twice(1)


@pytest.fixture
def apart(monkeypatch):
    """Compiles a function's runs operation by operation, and calls it."""

    def call(fn, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr("asgard.jaxprs.kernel.LONGEST", 0)
            patch.setattr("asgard.calculi.real.integral.LONGEST_WITH_EVENTS", 0)
            lowered = jax.jit(lambda *values: fn(*values)).lower(*arguments)
        assert MARK not in lowered.as_text()
        return lowered.compile()(*arguments)

    return call


# One function and one contraction: the others compile for a minute. Branches have their own tests.
QUICKEST = ("elementary", "a constant matrix")
TIERED = [name if name in QUICKEST else slow(name) for name in TAKEN]


@pytest.mark.parametrize("name", TIERED)
def test_a_kernel_has_the_value_of_its_operations(name, apart):
    x = jnp.array([0.5, -0.25, 0.75])

    def run(x):
        return last(TAKEN[name], x)

    kernel, is_one = compiled(run, x)
    assert is_one
    np.testing.assert_allclose(kernel(x), apart(run, x), rtol=1e-13)
    # No row of them ends at zero under a field of the table, where only rounding were compared.
    batch = jnp.stack([x, 2 * x, 2.5 * x, x - 1])
    found = jax.jit(jax.vmap(run))(batch)
    expected = jnp.stack([kernel(row) for row in batch])
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("name", ["a product of matrices", slow("a Fourier transform")])
def test_what_a_kernel_cannot_take_runs_without(name):
    x = jnp.array([0.5, -0.25, 0.75])

    def run(x):
        return last(NOT_TAKEN[name], x)

    assert not is_kernel(run, x)
    # Steps of order 6 at 1e-6 beside steps of order 12 at 1e-12.
    fine = ag.Real(order=12, rtol=1e-12)

    @jax.jit
    def all_of(x):
        exact = ag.simulate(ode(NOT_TAKEN[name], x), TS, calculus=fine).output[-1]
        return run(x), exact, jax.vmap(run)(jnp.stack([x, 2 * x]))

    found, expected, batch = all_of(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(batch[0], found, rtol=1e-12)


@pytest.mark.parametrize("size", [200, 5000])
def test_wide_states_run(size):
    x = jnp.linspace(0.5, 1, size)

    def run(x):
        return last(jnp.negative, x)

    np.testing.assert_allclose(jax.jit(run)(x), x * np.exp(-0.25), rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lorenz, 1),
        slow(lorenz, 2),
        (lorenz, 3000),
        slow(lorenz_of_wires, 1),
        (lorenz_of_wires, 2),
        slow(lorenz_of_wires, 3000),
    ],
)
def test_times_that_are_constants_of_an_outer_compilation(build, count):
    ts = jnp.linspace(0, 0.25, count)

    def run(circuit):
        return ag.simulate(circuit, ts, calculus=QUICK, throw=False).outputs

    kernel, is_one = compiled(run, build())
    outputs = kernel(build())
    assert is_one
    assert all(np.all(np.isfinite(output)) for output in outputs)


def short(x):
    """A run that is quick to lower and compile, and whether it says that it ran as a kernel."""
    run = ag.simulate(ode(lambda x: -x, x), TS, calculus=ag.Real(order=4, rtol=1e-3, max_steps=15))
    return run.output[-1], run.stats["kernel"]


@pytest.mark.parametrize("platforms", [["cuda", "tpu"], ["cpu"]])
def test_exported_programs_hold_no_kernel(platforms):
    x = jnp.array([0.5])
    assert is_kernel(short, x)
    exported = jax.export.export(jax.jit(short), platforms=platforms)(x)
    assert MARK not in exported.mlir_module()


@pytest.mark.parametrize(
    ("setting", "version", "expected"),
    [
        (None, (0, 12, 9), True),
        ("off", (0, 12, 9), False),
        (None, (0, 13, 0), False),
        (None, (1, 0, 0), False),
        ("on", (0, 13, 0), True),
    ],
)
def test_the_environment_and_the_version_of_jaxlib_switch_kernels(
    setting, version, expected, monkeypatch, caplog
):
    monkeypatch.delenv("ASGARD_KERNELS", raising=False)
    if setting is not None:
        monkeypatch.setenv("ASGARD_KERNELS", setting)
    monkeypatch.setattr("asgard.jaxprs.kernel.JAXLIB", version)
    x = jnp.array([0.5])
    with caplog.at_level(logging.WARNING, logger="asgard"):
        # A new function, of which nothing has been traced under another setting.
        run, is_one = compiled(lambda x: short(x), x)
        value, said = run(x)
    assert is_one == expected
    np.testing.assert_allclose(value, 0.5 * np.exp(-0.25), rtol=1e-3)
    assert bool(said) == expected
    told = [record.getMessage() for record in caplog.records if record.name == "asgard"]
    assert len(told) == (setting is None and not expected)
    assert all(".".join(map(str, version)) in message for message in told)


def test_an_unknown_setting_of_the_switch_is_refused(monkeypatch):
    monkeypatch.setenv("ASGARD_KERNELS", "maybe")
    refused = 'ASGARD_KERNELS must be "on", "off" or unset, not "maybe"'
    with pytest.raises(ag.CircuitError, match=refused):
        jax.jit(lambda x: short(2 * x)).lower(jnp.array([0.5]))
    # A run says so before JAX compiles, and without a trace of JAX's around it.
    with pytest.raises(ag.CircuitError, match=refused) as caught:
        ag.simulate((ag.Scalar(-1.0) >> ag.Register("t", 1.0) >> ag.Split()).trace(), [0.0, 1.0])
    assert caught.value.__cause__ is None
    assert not isinstance(caught.value.__context__, ValueError)


def test_every_run_of_a_batch_and_of_a_gradient_says_whether_it_was_a_kernel():
    batch = jnp.linspace(0.1, 1, 3)[:, None]
    assert np.all(jax.jit(jax.vmap(short))(batch)[1])
    _, said = jax.jit(jax.value_and_grad(lambda x: (short(x)[0][0], short(x)[1]), has_aux=True))(
        batch[0]
    )[0]
    assert bool(said)
    wide = jnp.ones(5000)
    assert not bool(jax.jit(short)(wide)[1])


def test_xla_compiles_a_kernel_as_one_function(tmp_path):
    # XLA makes one object file for each operation that runs by itself: with jaxlib 0.10 more than
    # 20 without the kernel. jaxlib 0.12 compiles a loop as small as this as one function anyway.
    options = {"xla_dump_to": str(tmp_path), "xla_dump_hlo_as_text": True}
    # A number that no cache of compilations knows.
    new = np.random.default_rng().random()
    jax.jit(lambda x: short(new * x)).lower(jnp.array([0.5])).compile(compiler_options=options)
    found = [path.name for path in tmp_path.glob("*.o")]
    assert sum("asgard_kernel" in name for name in found) == 1
    assert len(found) <= 8, found
