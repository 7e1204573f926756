"""Scenes on axes of matplotlib, which is imported only here and only when asked for."""

from typing import Any

from .geometry import Path
from .plots.axes import check_axes, pyplot
from .scene import Scene, Text

# Inches for a pixel, as browsers have it.
_INCHES = 1 / 96


def figure_of(scene: Scene) -> Any:
    """A figure of the size of a scene, which pyplot does not know of, with the scene on it."""
    pyplot()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(scene.width * _INCHES, scene.height * _INCHES))
    draw_on(figure.add_axes((0.0, 0.0, 1.0, 1.0)), scene)
    return figure


def draw_on(axes: Any, scene: Scene) -> Any:
    """Draws a scene on axes, whose frame and ticks it takes off. Letters fit where the axes are as
    large as the scene, and are scaled for other sizes."""
    pyplot()
    check_axes("draw", axes)
    from matplotlib.patches import PathPatch

    axes.set_xlim(0.0, scene.width)
    axes.set_ylim(scene.height, 0.0)
    axes.set_aspect("equal")
    axes.axis("off")
    room = axes.get_window_extent()
    dots = min(room.width / scene.width, room.height / scene.height)
    scale = dots * 72 / axes.figure.dpi
    for layer, mark in enumerate(scene.marks):
        if isinstance(mark, Text):
            _write(axes, mark, scale, layer)
        else:
            axes.add_patch(
                PathPatch(
                    _path(mark.path),
                    facecolor=mark.fill or "none",
                    edgecolor=mark.colour or "none",
                    linewidth=mark.width * scale if mark.colour else 0.0,
                    joinstyle="round",
                    snap=False,
                    capstyle="round",
                    zorder=layer,
                )
            )
    return axes


def new_axes(scene: Scene) -> Any:
    """Axes of a new figure of pyplot, of the size of a scene."""
    figure = pyplot().figure(figsize=(scene.width * _INCHES, scene.height * _INCHES))
    return figure.add_axes((0.0, 0.0, 1.0, 1.0))


def _write(axes: Any, mark: Text, scale: float, layer: int) -> None:
    axes.text(
        *mark.point,
        # Labels are plain, whatever dollar signs they have.
        mark.text.replace("$", r"\$"),
        fontsize=mark.size * scale,
        horizontalalignment={"start": "left", "middle": "center", "end": "right"}[mark.anchor],
        verticalalignment="baseline",
        color=mark.colour,
        fontstyle="italic" if mark.italic else "normal",
        zorder=layer,
    )


def _path(path: Path) -> Any:
    from matplotlib.path import Path as Drawn

    points, codes = [path.start], [Drawn.MOVETO]
    for step in path.steps:
        if step.controls is None:
            points.append(step.to)
            codes.append(Drawn.LINETO)
        else:
            points += [*step.controls, step.to]
            codes += [Drawn.CURVE4] * 3
    if path.closed:
        points.append(path.start)
        codes.append(Drawn.CLOSEPOLY)
    return Drawn(points, codes)
