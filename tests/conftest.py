"""Tests run in float64, and with the types and shapes of annotations checked at run time."""

import gc
import importlib.util
import pkgutil

import jax
import jaxtyping
import pytest

jax.config.update("jax_enable_x64", True)
# All but the engine's own functions, which are called for every equation that is traced, and those
# of pictures, for every pair of wires: pyright checks those, and their checks at run time would
# take an eighth of all tests' time.
_package = importlib.util.find_spec("asgard")
assert _package is not None
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
