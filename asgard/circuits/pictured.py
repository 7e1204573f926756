"""Pictures that circuits and results have, by name. What draws them stands in a folder above.

Their classes are below `pictures`, and imports run downward only. So a method such as
`trajectory.plot` asks for its picture by name, and `pictures` says here who draws it: that is known
once the package is imported. Nothing below imports what draws, or matplotlib.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Drawer = TypeVar("Drawer", bound=Callable[..., Any])

_DRAWERS: dict[str, Callable[..., Any]] = {}


def draws(name: str) -> Callable[[Drawer], Drawer]:
    """Makes a function the one that draws a picture, such as `"trajectory.plot"`."""

    def add(drawer: Drawer) -> Drawer:
        _DRAWERS[name] = drawer
        return drawer

    return add


def picture(name: str, /, *args: Any, **options: Any) -> Any:
    """The picture of a name, of what is given."""
    return _DRAWERS[name](*args, **options)
