"""What every example of the gallery has. Nothing is run here: the site's build runs the gallery."""

import ast
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
GALLERY = sorted(EXAMPLES.glob("*/*.py"))
FILES = sorted(EXAMPLES.glob("*/*.toml"))


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
    # In reStructuredText a literal has two backticks on each side.
    assert "`" not in re.sub("``[^`]+``", "", paragraph)
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    assert "print(" in text
    assert lines[-1] == "plt.show()"


def test_there_are_at_least_forty():
    assert len(GALLERY) >= 40


def test_a_name_stands_for_one_example():
    names = [path.stem for path in GALLERY + FILES]
    assert len(set(names)) == len(names)
