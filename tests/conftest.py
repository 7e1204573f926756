"""Tests run in float64, and with the types and shapes of annotations checked at run time."""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
install_import_hook("asgard", "beartype.beartype")
