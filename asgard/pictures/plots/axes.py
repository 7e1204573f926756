"""What all plots share: axes, colours, labels, and numbers that are known."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete

# M. Okabe and K. Ito, *Color Universal Design* (2008), which colour-blind readers tell apart;
# without its yellow, which is hardly seen on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# How curves of one colour are told apart: real parts, and imaginary ones.
_STYLES = (("-", "--"), ("-.", ":"))
FAILED, ENDED, EVENT = "#D55E00", "#999999", "#000000"
# The legends that plots have made.
_OWN = "asgard"
# Up to so many saved times each is marked: straight lines between them are no solution.
MARKED = 40
Units = Mapping[str, str] | None


def pyplot() -> Any:
    """`matplotlib.pyplot`. Raises `ImportError` that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'plots need the package matplotlib: pip install "asgard[plot]"'
        ) from error
    return plt


def known(what: str, values: Any) -> None:
    """Raises `CircuitError` where a number is traced."""
    if not is_concrete(*jax.tree.leaves(values)):
        raise CircuitError(
            f"{what} draws numbers, and under jax.jit, jax.grad or jax.vmap there are none yet: "
            "return the result from the transformed function, and plot it outside"
        )


def axes_of(what: str, ax: Any, size: tuple[float, float] = (6.4, 3.6)) -> Any:
    """The axes given, or those of a new figure."""
    plt = pyplot()
    if ax is None:
        figure = plt.figure(figsize=size, layout="constrained")
        ax = figure.add_subplot()
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    check_axes(what, ax)
    return ax


def check_axes(what: str, ax: Any) -> None:
    """Raises `CircuitError` for what are no axes of matplotlib."""
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise CircuitError(f"{what}: ax takes axes of matplotlib, not {ax!r:.60}")


def looks(count: int, ax: Any) -> list[tuple[Any, tuple[str, str]]]:
    """A colour, and the styles of a real and of an imaginary part, for each of some curves.

    They go on from those of the palette that are on the axes. More curves than two styles of the
    palette tell apart are in the order of a colour map.
    """
    taken = {line.get_color() for line in ax.lines if isinstance(line.get_color(), str)}
    first = sum(color in taken for color in PALETTE)
    if count <= len(PALETTE) * len(_STYLES):
        every = [(color, styles) for styles in _STYLES for color in PALETTE]
        return [every[(first + spot) % len(every)] for spot in range(count)]
    import matplotlib

    # The last, yellow end is hardly seen on white.
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, count))
    return [(shade, _STYLES[0]) for shade in shades]


def in_legend(count: int) -> set[int]:
    """Which of some curves have their label in the legend: all, or some from first to last."""
    if count <= len(PALETTE) * len(_STYLES):
        return set(range(count))
    return set(np.linspace(0, count - 1, len(PALETTE)).round().astype(int).tolist())


def labelled(name: str, units: Units) -> str:
    """A name with its unit, if one is given for it or for the array that it is an entry of."""
    units = units or {}
    unit = units.get(name, units.get(name.partition("[")[0]))
    return name if unit is None else f"{name} ({unit})"


def check_units(what: str, units: Any) -> None:
    """Raises `CircuitError` for units that are no texts by name."""
    texts = isinstance(units, Mapping) and all(
        isinstance(text, str) for pair in units.items() for text in pair
    )
    if units is not None and not texts:
        raise CircuitError(
            f'{what}: units are a dictionary of texts by name, such as {{"x": "m"}}, not {units!r}'
        )


def legend(ax: Any, panels: int = 1) -> None:
    """A legend of what has a label: below the axes in a figure of one plot, else inside.

    It is inside, too, where it would take more than a third of the figure. A plot on the same axes
    again replaces it, and so does `ax.legend()`. `panels` are the axes that one plot has.
    """
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    figure = ax.get_figure(root=False)
    for old in (*figure.legends, ax.get_legend()):
        if old is not None and (old is ax.get_legend() or old.get_gid() == _OWN):
            old.remove()
    width, height = figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    # In inches: what stands before a label, a letter of it, and a row.
    widest = 0.6 + 0.075 * max(map(len, labels))
    columns = max(1, min(len(labels), int(width / widest)))
    tall = 0.18 * len(labels) / columns > height / 3
    if tall or figure.get_layout_engine() is None or len(figure.axes) != panels:
        ax.legend(handles, labels, loc="best", framealpha=0.85, fontsize="small")
        return
    from .below import legend_below

    legend_below(figure, handles, labels, columns).set_gid(_OWN)


def heat(ax: Any, across: Any, up: Any, values: np.ndarray, label: str) -> Any:
    """A heat map of values `[up, across]`, with a colour bar of the height of the axes."""
    ax.grid(False)
    mesh = ax.pcolormesh(across, up, values, shading="nearest", cmap="viridis", rasterized=True)
    bar = ax.inset_axes((1.03, 0.0, 0.04, 1.0))
    ax.get_figure().colorbar(mesh, cax=bar, label=label)
    return mesh


def one_of(what: str, name: Any, names: Sequence[str]) -> CircuitError:
    """The error for a name that is not among some."""
    return CircuitError(
        f"{what}: nothing is named {name!r}; there are {', '.join(names) or 'none'}"
    )
