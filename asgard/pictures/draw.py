"""`ag.draw`: the string diagram of a circuit.

The layout is our own, a layered one after Sugiyama, Tagawa and Toda (1981). `feedback` breaks the
loops, `layers` cuts wires at columns, `crossings` and `ordering` order columns; `heights`,
`routing` and `placing` say where all is. We know of no library that serves:

- grandalf, in pure Python, has no ports: edges end in the middle of boxes, and their order there is
  not counted. Its licence is the GPL or the EPL.
- graphviz has ports. It is a program to install beside Python; rustworkx only calls it.
- DisCoPy draws terms, not graphs: a row for every box, in the order of the term.

And notebooks show circuits with what is installed, so nothing but NumPy may be needed.
"""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from ..circuits.circuit import Circuit
from ..circuits.pictured import draws
from ..errors import CircuitError
from . import canvas
from .diagram import diagram_of
from .layout.placing import Placed, placed
from .scene import Scene, scene_of
from .svg import svg_of

# More boxes than this are nothing to look at.
_MOST_BOXES = 1000
_MOST_IN_NOTEBOOKS = 200
_SUFFIXES = (".svg", ".png", ".pdf")


@dataclasses.dataclass(frozen=True)
class Drawing:
    """The picture of a circuit. Notebooks show it.

    `svg()` is its text as SVG, `save(path)` writes a file, `plot(ax)` draws it with matplotlib.
    """

    layout: Placed

    @functools.cached_property
    def scene(self) -> Scene:
        """What is drawn."""
        return scene_of(self.layout)

    def svg(self) -> str:
        """The picture as SVG, of the same text for the same circuit."""
        return svg_of(self.scene)

    def _repr_svg_(self) -> str:
        return self.svg()

    def save(self, path: str | os.PathLike[str], *, dpi: float = 192.0) -> None:
        """Writes the picture to a file: SVG, or PNG or PDF by matplotlib.

        **Arguments:** `path` ends in .svg, .png or .pdf. `dpi` is for PNG; 96 is the size on
        screen.

        **Raises:** `CircuitError` for any other ending, `ImportError` without matplotlib.
        """
        path = Path(path)
        if path.suffix not in _SUFFIXES:
            raise CircuitError(f"a picture is saved as .svg, .png or .pdf, not as {path.name!r}")
        if path.suffix == ".svg":
            path.write_text(self.svg(), encoding="utf-8")
        else:
            canvas.figure_of(self.scene).savefig(path, dpi=dpi)

    def plot(self, ax: Any = None) -> Any:
        """Draws with matplotlib: on these axes, or on those of a new figure.

        **Returns:** the axes.

        **Raises:** `ImportError` without matplotlib.
        """
        return canvas.draw_on(canvas.new_axes(self.scene) if ax is None else ax, self.scene)

    def __repr__(self) -> str:
        return f"<drawing of {self.scene.description}>"


def draw(
    circuit: Circuit,
    *,
    blocks: str | int = "folded",
    ax: Any = None,
    path: str | os.PathLike[str] | None = None,
) -> Drawing:
    """The string diagram of a circuit, from left to right.

    A box is an atom: inputs on its left and outputs on its right, in their order from top to
    bottom. A wire with a dot has several readers; one with a small circle at its end has none. A
    wire that leads back has an arrow. Registers, delays, noise and events have shapes and colours
    of their own. Blocks have double frames. Wires with names bear them.

    **Arguments:**

    - `circuit`: any circuit. One that is a block itself is drawn as what is in it.
    - `blocks`: "folded" draws each block as one box, and so each function that a function under
      `@ag.circuit` calls. "open" draws what is in them; a number opens that many levels.
    - `ax`: axes of matplotlib to draw on at once.
    - `path`: a file to save to at once: .svg, .png or .pdf.

    **Returns:** a `Drawing`.

    **Raises:** `CircuitError` for what is no circuit, for wrong arguments and for more boxes than
    can be looked at; `LoopError` for a closed loop without an atom that an output reads.

    ```python
    ag.draw((ag.Add() >> ag.Register("t", 1.0) >> ag.Split()).trace(), path="growth.svg")
    ```
    """
    if not isinstance(circuit, Circuit):
        hint = "; did you mean to call it?" if callable(circuit) else ""
        raise CircuitError(f"draw takes a circuit, not {type(circuit).__name__}{hint}")
    drawing = _drawing(circuit, _depth(blocks), _MOST_BOXES)
    if ax is not None:
        drawing.plot(ax)
    if path is not None:
        drawing.save(path)
    return drawing


def _depth(blocks: str | int) -> int | None:
    """How many levels of blocks are opened; None for all."""
    named: dict[Any, int | None] = {"folded": 0, "open": None}
    if isinstance(blocks, str) and blocks in named:
        return named[blocks]
    if not isinstance(blocks, int) or isinstance(blocks, bool) or blocks < 0:
        raise CircuitError(
            f'draw: blocks must be "folded", "open" or a number of levels, not {blocks!r}'
        )
    return blocks


def _drawing(circuit: Circuit, depth: int | None, most: int) -> Drawing:
    diagram = diagram_of(circuit, depth)
    count = sum(not box.is_end for box in diagram.boxes)
    if count > most:
        advice = 'draw it with blocks="folded"' if depth != 0 else "put parts of it in blocks"
        raise CircuitError(
            f"draw: {count} boxes are too many to look at, more than {most}: {advice}, or draw a "
            "part of it"
        )
    return Drawing(placed(diagram))


@draws("circuit")
def _in_notebooks(circuit: Circuit) -> str | None:
    """The picture of a circuit in a notebook, which shows the text of those that have none."""
    try:
        return _drawing(circuit, 0, _MOST_IN_NOTEBOOKS).svg()
    except CircuitError:
        return None
