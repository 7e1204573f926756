"""Draws the badges of the README from pyproject.toml: docs/images/badge_*.svg.

    python docs/drawings/badges.py

They are files of the repository: no server is asked, and tests/test_site.py checks that they are
true.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from style import BLUE, FONT, INK, text

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"


def facts() -> dict[str, str]:
    """What each badge says, by what it says it of."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project: dict[str, Any] = read["project"]
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    kernels = (ROOT / "asgard/jaxprs/kernel.py").read_text(encoding="utf-8")
    oldest = re.findall(r"jax>=([\d.]+)", "\n".join(project["dependencies"]))
    newest = re.findall(r"NEWEST_TESTED = \((\d+), (\d+)\)", kernels)
    return {
        "python": f"{pythons[0]} – {pythons[-1]}",
        "jax": f"{oldest[0]} – {'.'.join(newest[0])}",
        "licence": project["license"],
    }


def badge(name: str, fact: str) -> str:
    left, right = 8 * len(name) + 14, 8 * len(fact) + 14
    width = left + right
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 22" width="{width}" '
            f'height="22" role="img" font-family="{FONT}">',
            f"<title>{name}: {fact}</title>",
            f'<rect width="{width}" height="22" rx="4" fill="{BLUE}"/>',
            f'<path d="M4,0 H{left} V22 H4 Q0,22 0,18 V4 Q0,0 4,0" fill="{INK}"/>',
            text(left / 2, 15.5, name, size=12, fill="#fff"),
            text(left + right / 2, 15.5, fact, size=12, fill="#fff"),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    for name, fact in facts().items():
        (IMAGES / f"badge_{name}.svg").write_text(badge(name, fact), encoding="utf-8")
