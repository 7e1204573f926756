"""After the build: every link within the site leads to a page and a place on it."""

import functools
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif value and (name == "src" or (name == "href" and tag in ("a", "link"))):
                self.links.add(value)


def check(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.name != "html":
        return
    root = Path(app.outdir).resolve()
    page = functools.cache(Page)
    broken = []
    for path in sorted(set(root.rglob("*.html")) - set(root.glob("_static/**/*"))):
        for link in page(path).links:
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            aim = (path.parent / unquote(target.path)).resolve() if target.path else path
            found = aim.is_file() and (
                not target.fragment
                or aim.suffix != ".html"
                or unquote(target.fragment) in page(aim).anchors
            )
            if not found:
                broken.append(f"{path.relative_to(root)}: {link}")
    if broken:
        raise ExtensionError("links that lead nowhere:\n" + "\n".join(broken))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
