"""What our drawings have in common: colours that colour-blind readers tell apart, and text."""

from xml.sax.saxutils import escape

BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#00745A", "#6b7280", "#1f2937"
FONT = "DejaVu Sans, Verdana, Arial, sans-serif"


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: float = 15,
    anchor: str = "middle",
    fill: str = INK,
    weight: str = "normal",
    extra: str = "",
) -> str:
    """A line of text, with its baseline at y."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{fill}" '
        f'font-weight="{weight}" {extra}>{escape(words)}</text>'
    )


def picture(width: float, height: float, title: str, body: list[str]) -> str:
    """An SVG file on a white ground with round corners, legible on light and dark pages."""
    ground = f'<rect width="{width}" height="{height}" rx="10" fill="#fff"/>'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="{FONT}">'
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, *body, "</svg>"]) + "\n"
