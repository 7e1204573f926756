"""Tests run in float64, and with the types and shapes of annotations checked at run time."""

import gc
import importlib.util
import os
import pkgutil

import jax
import jaxlib.version
import jaxtyping
import pytest

# By XLA's older emitters, which whole runs take anyway, tests of derivatives, batches and linear
# analysis take 0.8 of the processor time. Users compile programs around runs by the newer ones: so
# does the gallery, which the site's build runs, and a test that asks what XLA makes of a program
# (`helpers.AS_FOR_USERS`). From 0.11 on jaxlib has no older ones.
if jaxlib.version.__version_info__[:2] < (0, 11):
    _given = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"--xla_cpu_use_fusion_emitters=false {_given}"
# Compiled programs and traces are many objects that live for long: walking them again and again
# took a twentieth of all tests' time. Now that is done about once a minute, and after each module.
gc.set_threshold(10_000, 10, 20)

jax.config.update("jax_enable_x64", True)
# All but the engine's own functions, which are called for every equation that is traced, and those
# of pictures, for every pair of wires: pyright checks those, and their checks at run time would
# take an eighth of all tests' time.
_package = importlib.util.find_spec("asgard")
assert _package is not None
_jaxtyped = jaxtyping.jaxtyped


def _checked(*, typechecker):
    """The decorator of the hook below, for all but functions inside of functions: it would compile
    a checker each time that the outer one is called. Pyright checks these."""

    def decorate(fn):
        return fn if "<locals>" in fn.__qualname__ else _jaxtyped(fn, typechecker=typechecker)

    return decorate


jaxtyping.jaxtyped = _checked
_modules = [one.name for one in pkgutil.iter_modules(_package.submodule_search_locations)]
jaxtyping.install_import_hook(
    [f"asgard.{name}" for name in _modules if name not in ("taylor", "jaxprs", "pictures")],
    "beartype.beartype",
)


@pytest.fixture(scope="module")
def unchecked():
    """Without the checker of annotations: for wrong calls, which it would answer in our place, and
    for hypothesis, which forbids the random numbers that it draws."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module", autouse=True)
def _frozen():
    """Keeps the garbage collector from walking compiled programs of earlier modules again."""
    yield
    gc.collect()
    gc.freeze()
