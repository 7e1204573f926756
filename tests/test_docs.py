"""The examples in README.md and docs/ run, and print what they say they print."""

import ast
import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from helpers import slow

from asgard.cli.experiments.kinds import keys_of
from asgard.cli.experiments.schema import Experiment
from asgard.cli.main import main
from asgard.language.keywords import KEYWORDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# What the site's build makes is no page of ours.
BUILT = {"api", "gallery", "project"}
WRITTEN = [
    page for page in sorted(DOCS.rglob("*.md")) if page.relative_to(DOCS).parts[0] not in BUILT
]
PAGES = [ROOT / "README.md", *WRITTEN]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def promised(statement: ast.stmt, block: str) -> str:
    """What a statement says it prints: the comments at the ends of the prints in it."""
    lines = block.splitlines()
    found = []
    for node in ast.walk(statement):
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "print":
            line = lines[(call.end_lineno or 0) - 1].encode()
            found.append(line[call.end_col_offset :].decode().partition("#")[2].strip())
    return " ".join(found)


# The longest pages show what other quick tests hold.
LONG = (
    "circuits.md",
    "delays.md",
    "discrete.md",
    "equations.md",
    "events.md",
    "fit.md",
    "fixed_points.md",
    "functions.md",
    "gradients.md",
    "index.md",
    "inputs.md",
    "linear.md",
    "methods.md",
    "pictures.md",
    "scaling.md",
    "scipy.md",
    "simulate.md",
    "simulink.md",
    "start.md",
    "steady.md",
    "stochastic.md",
    "taylor.md",
)
# What pages need beyond the extra `test`.
NEEDS = {"other_solvers.md": ("diffrax", "probdiffeq")}


def run_of(page: Path) -> Any:
    """The page as a case: of the slow tier if it is long, skipped where it lacks a library."""
    missing = [name for name in NEEDS.get(page.name, ()) if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"needs {' and '.join(missing)}, of the extra `bench`"
        return pytest.param(page, marks=pytest.mark.skip(reason=reason))
    return slow(page) if page.name in LONG else page


RUN = [run_of(page) for page in PAGES]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_examples_run_and_print_what_they_say(page):
    namespace = {"__name__": page.stem}
    for block in blocks(page, "python"):
        for statement in ast.parse(block).body:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(ast.Module([statement], []), page.name, "exec"), namespace)
            assert " ".join(printed.getvalue().split()) == promised(statement, block)


def commands(page: Path) -> list[tuple[str, str]]:
    """The commands of `asgard` in a page's console blocks, each with what it prints."""
    found = []
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            if command.startswith("asgard "):
                found.append((command, printed))
    return found


def plain(text: str) -> str:
    """A text of single spaces, and with marks for rounding errors, in which machines may differ."""
    return re.sub(r"within (0|\d\S*e-1\d), ", "within ε, ", " ".join(text.split()))


COMMANDS = [(page, *one) for page in PAGES for one in commands(page)]


@pytest.mark.parametrize(("page", "command", "printed"), COMMANDS, ids=[c for _, c, _ in COMMANDS])
def test_commands_print_what_they_say(page, command, printed, tmp_path, monkeypatch, capsys):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    status = main(shlex.split(command)[1:])
    captured = capsys.readouterr()
    assert status == (2 if captured.err else 0)
    assert not printed or plain(captured.out + captured.err) == plain(printed)


def test_every_key_of_experiments_is_in_the_docs():
    text = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    words = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`[^`]+`", text))))
    missing = {name for section in sections(Experiment) for name in keys_of(section)} - words
    assert missing == set()


def sections(section: Any) -> set[Any]:
    """A section of experiments, and those that stand in it."""
    found, pending = {section}, [field.metadata["kind"] for field in keys_of(section).values()]
    while pending:
        kind = pending.pop()
        inner = [getattr(kind, "section", None), *getattr(kind, "sections", {}).values()]
        found = found.union(*(sections(one) for one in inner if one is not None))
        pending += [*getattr(kind, "kinds", ()), *filter(None, [getattr(kind, "kind", None)])]
    return found


def test_readme_has_one_bash_block_of_two_commands():
    (block,) = blocks(ROOT / "README.md", "bash")
    main_job, tests = block.splitlines()
    assert "examples/fitting/lynx_hare.py" in main_job
    assert "pytest" in tests


def test_every_keyword_is_in_the_docs():
    text = (ROOT / "docs" / "circuits.md").read_text(encoding="utf-8")
    table = "".join(line for line in text.splitlines() if line.startswith("| `"))
    words = set(re.findall(r"[a-z_0-9]+", table))
    assert set(KEYWORDS) - words == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target
