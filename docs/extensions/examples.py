"""What is set back between the examples of the gallery."""

from typing import Any


def reset(gallery_conf: dict[str, Any], fname: str | None) -> None:
    """Double precision, which an example may switch on, is off when the next one begins."""
    import jax

    jax.config.update("jax_enable_x64", False)
