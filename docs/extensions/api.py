"""The pages of the API, made of signatures and docstrings, which are Markdown."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import equinox as eqx
from sphinx.application import Sphinx

from . import signatures
from .repository import DOCS, write
from .topics import RETURNED, TOPICS, Topic


def page(topic: Topic) -> str:
    """The Markdown of one page."""
    module = importlib.import_module("asgard")
    for part in topic.module.split(".")[1:]:
        module = getattr(module, part)
    lead = f"# {topic.title}\n\n{topic.about}\n\n```{{py:currentmodule}} {topic.module}\n```\n"
    return "\n".join([lead, *(entry(name, getattr(module, name)) for name in topic.names)])


def entry(name: str, thing: Any) -> str:
    """A class with its members, a function, or a value."""
    if inspect.isclass(thing):
        body = [documented(thing), *members(thing)]
        made = "" if name in RETURNED else signatures.of_class(thing)
        return directive("class", name + made, "\n\n".join(body), depth=5)
    if callable(thing) and hasattr(inspect.unwrap(thing), "__code__"):
        return directive("function", name + signatures.of_function(thing), documented(thing))
    return directive("data", name, f"```text\n{thing.text.strip()}\n```")


def documented(thing: Any) -> str:
    """The docstring that was written for a thing, with the members of an enumeration."""
    written = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    text = inspect.cleandoc(written or "")
    if inspect.isclass(thing) and issubclass(thing, eqx.Enumeration):
        names = [name for name in vars(thing) if not name.startswith("_")]
        rows = [f"- `{name}`: {thing[getattr(thing, name)]}" for name in names]
        text = "\n".join([text, "", *(row.removesuffix(": ") for row in rows)])
    return text


def members(cls: type) -> list[str]:
    """The public methods and properties that a class itself documents."""
    found = []
    for name, held in vars(cls).items():
        thing = getattr(cls, name)
        if name.startswith("_") or not getattr(held, "__doc__", None):
            continue
        if isinstance(held, property):
            found.append(directive("property", name, inspect.cleandoc(held.__doc__ or ""), 4))
        elif inspect.isroutine(thing) and hasattr(inspect.unwrap(thing), "__code__"):
            if "asgard" not in inspect.unwrap(thing).__code__.co_filename:
                continue
            plain = isinstance(inspect.getattr_static(cls, name), staticmethod)
            kind = "staticmethod" if plain else "method"
            signature = signatures.of_function(thing, bound=not plain)
            found.append(directive(kind, name + signature, documented(thing), 4))
    return found


def directive(kind: str, signature: str, body: str, depth: int = 5) -> str:
    """A description by the Python domain; depth is the number of colons of its fence."""
    fence = ":" * depth
    return f"{fence}{{py:{kind}}} {signature}\n\n{body}\n{fence}\n"


def index() -> str:
    """The page that leads to the others, with all names."""
    rows = []
    for topic in TOPICS:
        prefix = topic.module.replace("asgard", "ag")
        names = ", ".join(f"`{prefix}.{name}`" for name in topic.names)
        rows.append(f"| [{topic.title}]({topic.page}.md) | {names} |")
    entries = "\n".join(topic.page for topic in TOPICS)
    modules = "\n".join(
        f"```{{py:module}} {module}\n```\n"
        for module in dict.fromkeys(topic.module for topic in TOPICS)
    )
    return (
        "# API\n\nAll public names, by topic. Everything is imported by `import asgard as ag`.\n\n"
        f"{modules}\n| topic | names |\n|---|---|\n" + "\n".join(rows) + "\n\n"
        f"```{{toctree}}\n:hidden:\n\n{entries}\n```\n"
    )


def make_pages(app: Sphinx) -> None:
    folder = Path(DOCS, "api")
    write(folder / "index.md", index())
    for topic in TOPICS:
        write(folder / f"{topic.page}.md", page(topic))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", make_pages)
    return {"parallel_read_safe": True}
