"""What a picture is drawn of: filled paths and texts, in order, for any canvas.

The colours are Okabe and Ito's, which people tell apart whatever colours they see; kinds differ in
their corners too. The ground is white and boxes are light, so pictures read on dark pages.
"""

import dataclasses
from collections.abc import Iterator

from .geometry import Frame, Path, Point, Step, line
from .layout.placing import DETAIL_SIZE, NAME_SIZE, Placed

INK = "#1a1a1a"
_WIRE = "#4d4d4d"
_GROUND = "#ffffff"


@dataclasses.dataclass(frozen=True)
class Stroke:
    """A path to be filled, drawn, or both. `title` shows where a mouse hovers."""

    path: Path
    fill: str | None = None
    colour: str | None = None
    width: float = 1.3
    title: str = ""


@dataclasses.dataclass(frozen=True)
class Text:
    """A line of text, `anchor`ed at its "start", "middle" or "end". `point` is on its baseline."""

    text: str
    point: Point
    size: float
    anchor: str = "middle"
    colour: str = INK
    italic: bool = False


@dataclasses.dataclass(frozen=True)
class Scene:
    """Strokes and texts, from the ground up."""

    width: float
    height: float
    marks: tuple[Stroke | Text, ...]
    description: str


@dataclasses.dataclass(frozen=True)
class Style:
    """How boxes of a kind look. `corners` are, from the upper left clockwise: r for a round one, c
    for a cut one, s for a square one. `bars` are lines inside: left, right.
    """

    fill: str
    edge: str
    corners: str = "rrrr"
    bars: tuple[bool, bool] = (False, False)
    radius: float = 5.0


STYLES = {
    "pointwise": Style("#ffffff", "#4d4d4d"),
    "constant": Style("#eeeeee", "#7f7f7f", radius=15.0),
    "register": Style("#cfe5f3", "#0072b2", "ssss", (True, False)),
    "derivative": Style("#e3f3fc", "#56b4e9", "ssss", (False, True)),
    "delay": Style("#c9ebe0", "#009e73", "ssss", (True, True)),
    "noise": Style("#fbe8c2", "#e69f00", "cscs"),
    "event": Style("#f8d9c4", "#d55e00", "cccc"),
    "unknown": Style("#f6e2ed", "#cc79a7", "rsrs", radius=10.0),
    "block": Style("#f4f4f4", "#1a1a1a", "ssss"),
}
_BAR, _CUT = 4.0, 7.0
# How far the control of a quarter of a circle is along its sides.
_QUARTER = 0.552


def scene_of(placed: Placed) -> Scene:
    """The scene of a diagram."""
    boxes = [box for box in placed.diagram.boxes if not box.is_end]
    marks = (*_ground(placed), *_wires(placed), *_boxes(placed), *_names(placed))
    wires = len(placed.diagram.wires)
    plural = ("es"[: 2 * (len(boxes) != 1)], "s"[: wires != 1])
    description = f"a circuit of {len(boxes)} box{plural[0]} and {wires} wire{plural[1]}"
    return Scene(placed.width, placed.height, marks, description)


def _ground(placed: Placed) -> Iterator[Stroke]:
    frame = Frame(0.0, 0.0, placed.width, placed.height)
    yield Stroke(outline(frame, "rrrr", 6.0), fill=_GROUND)


def _wires(placed: Placed) -> Iterator[Stroke]:
    for way in placed.ways:
        yield Stroke(way.path, colour=_WIRE)
    for dot in placed.dots:
        yield Stroke(_circle(dot, 2.6), fill=_WIRE)
    for x, y in placed.arrows:
        corners = (Point(x - 4, y), Point(x + 4, y - 4), Point(x + 4, y + 4))
        yield Stroke(line(*corners, corners[0]), fill=_WIRE)
    for path, end in placed.loose:
        yield Stroke(path, colour=_WIRE)
        yield Stroke(_circle(end, 2.6), fill=_GROUND, colour=_WIRE)


def _boxes(placed: Placed) -> Iterator[Stroke | Text]:
    for box, frame in zip(placed.diagram.boxes, placed.frames, strict=True):
        if box.is_end:
            continue
        label = box.label
        style = STYLES[label.kind]
        path = outline(frame, style.corners, style.radius)
        yield Stroke(path, style.fill, style.edge, 1.5, label.whole)
        if label.kind == "block":
            inner = Frame(frame.x + 3, frame.y + 3, frame.width - 6, frame.height - 6)
            yield Stroke(outline(inner, "ssss", 0.0), colour=style.edge, width=0.7)
        for shown, x in zip(style.bars, (frame.x + _BAR, frame.right - _BAR), strict=True):
            if shown:
                ends = (Point(x, frame.y), Point(x, frame.y + frame.height))
                yield Stroke(line(*ends), colour=style.edge, width=1.5)
        x, y = frame.middle
        # A baseline is about a third of the size below the middle of the letters.
        raised = 0.5 * DETAIL_SIZE if label.detail else 0.0
        yield Text(label.name, Point(x, y + 0.36 * NAME_SIZE - raised), NAME_SIZE)
        if label.detail:
            yield Text(label.detail, Point(x, y + 1.3 * DETAIL_SIZE), DETAIL_SIZE, colour="#4d4d4d")


def _names(placed: Placed) -> Iterator[Text]:
    for name in placed.names:
        x, y = name.point
        anchor = "end" if name.beside == "left" else "start"
        lowered = 0.36 * DETAIL_SIZE if name.beside else 0.0
        yield Text(name.text, Point(x, y + lowered), DETAIL_SIZE, anchor, italic=True)


def outline(frame: Frame, corners: str, radius: float) -> Path:
    """A rectangle with corners of some kinds, as `Style` has them."""
    radius = min(radius, frame.width / 2, frame.height / 2)
    bottom = frame.y + frame.height
    # Each corner with the directions in which its sides come in and go out.
    turns = (
        (Point(frame.x, frame.y), (0, -1), (1, 0)),
        (Point(frame.right, frame.y), (1, 0), (0, 1)),
        (Point(frame.right, bottom), (0, 1), (-1, 0)),
        (Point(frame.x, bottom), (-1, 0), (0, -1)),
    )
    steps: list[Step] = []
    for kind, (corner, into, out) in zip(corners, turns, strict=True):
        size = {"r": radius, "c": min(_CUT, radius + _CUT), "s": 0.0}[kind]
        near, far = _moved(corner, into, -size), _moved(corner, out, size)
        rest = size * (1 - _QUARTER)
        controls = (_moved(corner, into, -rest), _moved(corner, out, rest))
        steps += [Step(near), *([Step(far, controls if kind == "r" else None)] if size else [])]
    return Path(steps[-1].to, tuple(steps), closed=True)


def _moved(point: Point, direction: tuple[int, int], length: float) -> Point:
    return Point(point.x + direction[0] * length, point.y + direction[1] * length)


def _circle(middle: Point, radius: float) -> Path:
    frame = Frame(middle.x - radius, middle.y - radius, 2 * radius, 2 * radius)
    return outline(frame, "rrrr", radius)
