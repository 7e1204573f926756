"""What is set back between the examples of the gallery."""

import builtins
from typing import Any


def reset(gallery_conf: dict[str, Any], fname: str | None) -> None:
    """Double precision, which an example may switch on, is off when the next one begins.

    Examples find data by `__file__`, which the gallery, unlike Python, does not define: it stands
    where a script looks last.
    """
    import jax

    jax.config.update("jax_enable_x64", False)
    builtins.__dict__["__file__"] = fname
