"""A legend below the axes of a figure. Imports matplotlib: only what draws imports this."""

from typing import Any

from matplotlib.legend import Legend
from matplotlib.transforms import Bbox


class Below(Legend):
    """A legend of a figure that is not there once any of its axes have one of their own, as by
    `ax.legend()` for lines that a user adds."""

    def get_visible(self) -> bool:
        return super().get_visible() and self._stands_alone

    def get_tightbbox(self, renderer: Any = None) -> Any:
        return (
            super().get_tightbbox(renderer)
            if self._stands_alone
            else Bbox.from_bounds(0.0, 0.0, 0.0, 0.0)
        )

    @property
    def _stands_alone(self) -> bool:
        figure: Any = self.get_figure(root=False)
        return figure is None or all(ax.get_legend() is None for ax in figure.axes)


def legend_below(figure: Any, handles: list[Any], labels: list[str], columns: int) -> Legend:
    """Gives a figure such a legend."""
    style = {"loc": "outside lower center", "fontsize": "small", "frameon": False}
    made = figure.legend(handles, labels, ncols=columns, **style)
    # `Figure.legend` makes legends of one class only, and layouts see no legends but its own.
    made.__class__ = Below
    return made
