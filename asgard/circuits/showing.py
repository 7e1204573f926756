"""How notebooks show circuits. What draws is far above circuits, so it is given."""

from collections.abc import Callable
from typing import Any

_drawers: list[Callable[[Any], str | None]] = []


def shows(draw: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    """Makes notebooks show circuits by a function from a circuit to SVG; a decorator.

    Where it gives None they show the circuit's text.
    """
    _drawers[:] = [draw]
    return draw


def picture(circuit: Any) -> str | None:
    """A circuit as SVG; None where there is nothing to draw it, or it is too large."""
    return _drawers[0](circuit) if _drawers else None
