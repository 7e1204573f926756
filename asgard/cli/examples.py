"""The examples that come with Asgard: where they are, and what they are about."""

import ast
import dataclasses
import tomllib
from pathlib import Path

from .experiments.kinds import did_you_mean
from .faults import InputError

_SUFFIXES = (".py", ".toml")


@dataclasses.dataclass(frozen=True)
class Example:
    """A file `category/name`, and one line about it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def category(self) -> str:
        return self.path.parent.name

    @property
    def title(self) -> str:
        """The title of an experiment, or the first line of what a program says of itself."""
        text = self.path.read_text(encoding="utf-8")
        if self.path.suffix == ".toml":
            return str(tomllib.loads(text).get("title", ""))
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def examples(category: str | None = None) -> list[Example]:
    """All examples, by category and name. Raises `InputError` for an unknown category."""
    found = [
        Example(path)
        for folder in sorted(_folder().iterdir())
        if folder.is_dir()
        for path in sorted(folder.iterdir(), key=lambda path: path.stem)
        if path.suffix in _SUFFIXES and not path.name.startswith("_")
    ]
    if category is None:
        return found
    known = list(dict.fromkeys(example.category for example in found))
    if category not in known:
        hint = did_you_mean(category, known)
        raise InputError(f"there is no category {category}{hint}; they are {', '.join(known)}")
    return [example for example in found if example.category == category]


def find(name: str) -> Example:
    """The example of a name. Raises `InputError` where there is none."""
    every = examples()
    for example in every:
        if example.name == name:
            return example
    hint = did_you_mean(name, [example.name for example in every])
    raise InputError(f"there is no example {name}{hint or ': asgard example --list has all'}")


def _folder() -> Path:
    """The folder of examples: in the package of a wheel, or beside the package of a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside, beside = package / "examples", package.parent / "examples"
    if inside.is_dir():
        return inside
    if beside.is_dir() and (package.parent / "pyproject.toml").is_file():
        return beside
    raise InputError("the examples are not installed: they come with a wheel or a checkout")
