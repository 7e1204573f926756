"""What every example of the gallery has. Nothing is run here: the site's build runs the gallery."""

import ast
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
GALLERY = sorted(EXAMPLES.glob("*/*.py"))
CATEGORIES = {
    "basics",
    "mechanics",
    "events",
    "stiff",
    "pdes",
    "control",
    "electronics",
    "ecology",
    "epidemiology",
    "chemistry",
    "pharmacology",
    "neuroscience",
    "finance",
    "discrete",
    "learning",
    "fitting",
    "scale",
}


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_an_example_is_short_and_checks_itself_and_draws(path):
    text = path.read_text()
    lines = text.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    tree = ast.parse(text)
    title, under, *rest = (ast.get_docstring(tree) or "").split("\n", 2)
    assert title
    assert under == "=" * len(title)
    paragraph = "".join(rest).strip()
    assert len(paragraph) > 80
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    assert "print(" in text
    assert lines[-1] == "plt.show()"


def test_names_are_unique_and_categories_are_known():
    assert len({path.stem for path in GALLERY}) == len(GALLERY)
    assert {path.parent.name for path in GALLERY} <= CATEGORIES
