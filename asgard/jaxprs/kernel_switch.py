"""The environment variable that switches kernels."""

import os

from ..errors import CircuitError

# "on", "off", or unset for the default.
SWITCH = "ASGARD_KERNELS"


def kernel_switch() -> str:
    """The setting: "on", "off", or an empty text for the default.

    Raises `CircuitError` for any other. Runs read it before they compile, since JAX puts many
    lines of its own around an error in a compilation.
    """
    setting = os.environ.get(SWITCH, "")
    if setting not in ("", "on", "off"):
        raise CircuitError(
            f'the environment variable {SWITCH} must be "on", "off" or unset, not "{setting}"'
        )
    return setting
