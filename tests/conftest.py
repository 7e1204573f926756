"""Tests run in float64, and with the types and shapes of annotations checked at run time."""

import jax
import jaxtyping
import pytest

jax.config.update("jax_enable_x64", True)
jaxtyping.install_import_hook("asgard", "beartype.beartype")


@pytest.fixture(scope="module")
def unchecked():
    """Without the checker of annotations: for wrong calls, which it would answer in our place, and
    for hypothesis, which forbids the random numbers that it draws."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
