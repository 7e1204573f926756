"""Files of the repository outside docs as pages, and links to them.

A link such as `../benchmarks/README.md` leads to the file in a repository browser. On the site it
leads to the page that is made of the file here, and one to `../examples/basics/decay.py` leads to
the example's page of the gallery. What has no page is an error.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
# File of the root: page of the site.
PAGES = {
    "benchmarks/README.md": "project/benchmarks.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "LICENSE": "project/licence.md",
}
LOG = logging.getLogger(__name__)
# Code in backticks, in which nothing is a link, or the target of a link.
SPAN = re.compile(r"(?P<code>(?P<ticks>`+).+?(?P=ticks))|\]\((?P<target>[^)\s]+)\)", re.DOTALL)
FENCED = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)`*$", re.MULTILINE | re.DOTALL)


def page_of(file: str) -> str | None:
    """The page, from docs, of a file or folder, from the root; None if it has none."""
    if file in PAGES:
        return PAGES[file]
    if file.startswith("docs/"):
        return file.removeprefix("docs/")
    if file == "examples":
        return "gallery/index.rst"
    if re.fullmatch(r"benchmarks/\w+\.py", file):
        return PAGES["benchmarks/README.md"]  # which says what each script measures
    if re.fullmatch(r"examples/\w+/\w+\.py", file):
        return str(PurePosixPath("gallery", *PurePosixPath(file).parts[1:]).with_suffix(".rst"))
    return None


def with_links(text: str, file: str, page: str) -> str:
    """Markdown of `file` (from the root) with links that hold in `page` (from docs)."""

    def moved(found: re.Match[str]) -> str:
        target = found["target"]
        if target is None or re.match(r"[a-z]+:|#", target):
            return found[0]
        path, mark, heading = target.partition("#")
        aim = os.path.normpath(PurePosixPath(file).parent / path)
        aim_page = page_of(aim)
        if aim_page is None:
            LOG.warning("%s links to %s, which has no page on the site", file, aim)
            return found[0]
        return f"]({os.path.relpath(aim_page, PurePosixPath(page).parent)}{mark}{heading})"

    pieces, last = [], 0
    for fenced in FENCED.finditer(text):
        pieces += [SPAN.sub(moved, text[last : fenced.start()]), fenced[0]]
        last = fenced.end()
    return "".join([*pieces, SPAN.sub(moved, text[last:])])


def write(page: Path, text: str) -> None:
    """Writes a page where it changed, so that Sphinx reads only what is new."""
    page.parent.mkdir(parents=True, exist_ok=True)
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def make_pages(app: Sphinx) -> None:
    """Pages of the files outside docs."""
    for file, page in PAGES.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        if file == "LICENSE":
            text = f"# Licence\n\n```text\n{text.strip()}\n```\n"
        write(DOCS / page, with_links(text, file, page))


def read(app: Sphinx, docname: str, content: list[str]) -> None:
    """Links of the pages in docs, as they are read."""
    if docname.startswith(("api/", "gallery/", "project/")):
        return
    page = f"{docname}.md"
    content[0] = with_links(content[0], f"docs/{page}", page)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", make_pages)
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
