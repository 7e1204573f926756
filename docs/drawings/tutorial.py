"""Draws the pictures of docs/start.md, from the page's own code: phase.svg and tank.svg.

python docs/drawings/tutorial.py
"""

import re
from pathlib import Path
from typing import Any

import matplotlib

DOCS = Path(__file__).parents[1]


def main() -> None:
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "asgard"
    page = (DOCS / "start.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
        if "picture" in names:
            break
    axes = names["axes"]
    axes.figure.set_size_inches(4.8, 3.2)
    axes.figure.savefig(DOCS / "images" / "phase.svg", metadata={"Date": None})
    names["picture"].save(DOCS / "images" / "tank.svg")


if __name__ == "__main__":
    main()
