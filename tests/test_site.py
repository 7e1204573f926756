"""What the site is built from: pages, links, names, pictures and figures of the project.

The build itself (`.ci/run`) checks more. These tests show in a second what would break it.
"""

import ast
import importlib.util
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import asgard as ag

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# What the build makes.
BUILT = {"api", "gallery", "project"}
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.relative_to(DOCS).parts[0] not in BUILT)
OUTSIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def loaded(path: Path):
    """A module of docs, which is no package."""
    spec = importlib.util.spec_from_file_location(f"site_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def prose(page: Path) -> str:
    """A page without its code."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"^(`{3,})(?!.*toctree).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", lambda found: found[2], text)


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings: lower case, without punctuation, by hyphens."""
    found: set[str] = set()
    for title in re.findall(r"^#{1,4} (.+)$", prose(page), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        count = 1
        name = slug
        while name in found:
            name, count = f"{slug}-{count}", count + 1
        found.add(name)
    return found


def toctrees(page: Path) -> list[Path]:
    """The pages that a page's tables of contents name."""
    text = page.read_text(encoding="utf-8")
    entries = re.findall(r"^```\{toctree\}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    names = [line for block in entries for line in block.splitlines() if line[:1] not in ("", ":")]
    names = [re.sub(r"^.*<(.+)>$", r"\1", name) for name in names]
    return [page.parent / f"{name}.md" for name in names]


def test_every_page_is_in_the_navigation_once():
    listed = [entry for page in PAGES for entry in toctrees(page)]
    written = [entry for entry in listed if entry.relative_to(DOCS).parts[0] not in BUILT]
    assert sorted(written) == sorted(set(PAGES) - {DOCS / "index.md"})


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=lambda page: page.stem)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", prose(page)):
        path, _, heading = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), target
        if heading and aim.suffix == ".md":
            assert heading in headings(aim), target


def test_every_public_name_is_on_one_page_of_the_api():
    topics = loaded(DOCS / "extensions" / "topics.py")
    modules = {"asgard": ag, "asgard.statistics": ag.statistics, "asgard.rules": ag.rules}
    modules |= {"asgard.taylor": ag.taylor, "asgard.taylor.rules": ag.taylor.rules}
    listed = [(topic.module, name) for topic in topics.TOPICS for name in topic.names]
    assert len(set(listed)) == len(listed)
    for module, name in listed:
        assert hasattr(modules[module], name), name
    shown = {name for module, name in listed if module == "asgard"}
    assert shown | set(topics.NAMESPACES) == set(dir(ag))
    assert {name for module, name in listed if module == "asgard.rules"} == set(dir(ag.rules))
    functions = {name for name, value in vars(ag.taylor).items() if callable(value)}
    assert {name for module, name in listed if module == "asgard.taylor"} == functions
    reductions = {
        name
        for name, value in vars(ag.statistics).items()
        if isinstance(value, type)
        and issubclass(value, ag.statistics.Reduction)
        and not name.startswith("_")
    }
    assert reductions <= {name for module, name in listed if module == "asgard.statistics"}


def test_code_in_docstrings_can_be_read():
    for path in (ROOT / "asgard").rglob("*.py"):
        text = textwrap.dedent(path.read_text(encoding="utf-8"))
        for block in re.findall(r"^ *```python\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
            code = textwrap.dedent(block).replace("{name}", "name")  # of a template
            compile(code, path.name, "exec", ast.PyCF_ONLY_AST)


def test_categories_of_the_gallery_have_a_heading_and_an_order():
    listed = loaded(DOCS / "extensions" / "categories.py").CATEGORIES
    held = {path.parent.name for path in (ROOT / "examples").glob("*/*.py")}
    assert held <= set(listed)
    for category in listed:
        assert (ROOT / "examples" / category / "GALLERY_HEADER.rst").exists()


def pictures() -> list[Path]:
    """The pictures that are checked in."""
    kinds = {".png", ".svg", ".gif", ".jpg", ".jpeg", ".webp", ".pdf"}
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.split("\0")]
    return [path for path in paths if path.suffix in kinds]


def test_pictures_are_in_docs_and_under_5_megabytes_together():
    found = pictures()
    assert all(path.is_relative_to(DOCS) for path in found)
    assert 0 < sum(path.stat().st_size for path in found) < 5e6


def test_every_picture_is_shown_somewhere():
    text = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, *OUTSIDE])
    text += (DOCS / "conf.py").read_text(encoding="utf-8")
    assert [path.name for path in pictures() if path.name not in text] == []


def test_badges_say_what_the_project_says(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "drawings"))
    badges = loaded(DOCS / "drawings" / "badges.py")
    for name, fact in badges.facts().items():
        drawn = (DOCS / "images" / f"badge_{name}.svg").read_text(encoding="utf-8")
        assert drawn == badges.badge(name, fact)


def test_the_version_is_one():
    version = PROJECT["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (day,) = re.findall(r"^date-released: (\S+)$", citation, flags=re.MULTILINE)
    assert f"\nversion: {version}\n" in citation
    assert f"## [{version}] - {day}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"Version {version}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 110
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert len([line for line in code.splitlines() if line]) < 15
    assert len(re.findall(r"^- \*\*", text, flags=re.MULTILINE)) == 6
