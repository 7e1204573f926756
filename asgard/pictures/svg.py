"""Scenes as SVG."""

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from .geometry import Path, Point
from .scene import Scene, Stroke, Text

_FONT = "DejaVu Sans, Verdana, Arial, sans-serif"


def svg_of(scene: Scene) -> str:
    """The text of an SVG file."""
    width, height = _number(scene.width), _number(scene.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" '
        f'font-family="{_FONT}" stroke-linejoin="round" stroke-linecap="round">',
        f"<title>{escape(scene.description)}</title>",
        *(_text(mark) if isinstance(mark, Text) else _stroke(mark) for mark in scene.marks),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _stroke(stroke: Stroke) -> str:
    look = f'fill="{stroke.fill or "none"}"'
    if stroke.colour:
        look += f' stroke="{stroke.colour}" stroke-width="{_number(stroke.width)}"'
    path = f'<path d="{" ".join(_commands(stroke.path))}" {look}'
    return f"{path}><title>{_safe(stroke.title)}</title></path>" if stroke.title else f"{path}/>"


def _text(text: Text) -> str:
    slant = ' font-style="italic"' if text.italic else ""
    return (
        f'<text x="{_number(text.point.x)}" y="{_number(text.point.y)}" '
        f'font-size="{_number(text.size)}" text-anchor={quoteattr(text.anchor)} '
        f'fill="{text.colour}" pointer-events="none"{slant}>{_safe(text.text)}</text>'
    )


def _safe(text: str) -> str:
    """A text as XML has it, without the control characters that it has not."""
    return escape("".join(letter if letter.isprintable() else " " for letter in text))


def _commands(path: Path) -> Iterator[str]:
    yield f"M{_point(path.start)}"
    for step in path.steps:
        if step.controls is None:
            yield f"L{_point(step.to)}"
        else:
            yield f"C{' '.join(map(_point, (*step.controls, step.to)))}"
    if path.closed:
        yield "Z"


def _point(point: Point) -> str:
    return f"{_number(point.x)},{_number(point.y)}"


def _number(value: float) -> str:
    """At most two digits after the point, without zeros at the end."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
