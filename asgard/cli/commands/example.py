"""`asgard example`: the examples that come with Asgard, listed and run."""

import argparse
import contextlib
import os
import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from ..examples import Example, examples, find
from ..experiments.experiment import Wanted, report_on
from ..experiments.summary import as_text
from ..experiments.writing import check_picture
from ..faults import InputError
from ..output import write
from .command import Commands

_HELP = """\
Lists the examples that come with Asgard, or runs one by its name: an experiment, or a Python
program.
"""
_EPILOG = """\
examples:
  asgard example --list -c mechanics
  asgard example decay --plot
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add("example", run, "list and run examples", _HELP, _EPILOG)
    command.add_argument("name", nargs="?", help="the example to run")
    command.add_argument("--list", action="store_true", help="print all names with their titles")
    command.add_argument("-c", "--category", metavar="CATEGORY", help="list those of a category")
    command.add_argument(
        "--plot",
        nargs="?",
        const="",
        metavar="FILE",
        help="write its picture, to NAME.png by default",
    )


def run(options: argparse.Namespace) -> int:
    """Lists examples, or runs one."""
    if options.list or options.category is not None:
        write(_listing(examples(options.category)))
        return 0
    if options.name is None:
        raise InputError("expected the name of an example, or --list")
    example = find(options.name)
    picture = None
    if options.plot is not None:
        picture = Path(options.plot or f"{example.name}.png")
        check_picture(picture)
    if example.path.suffix == ".toml":
        return _run_experiment(example, picture)
    return _run_program(example, picture)


def _listing(found: list[Example]) -> str:
    width = max(len(example.name) for example in found)
    lines: list[str] = []
    category = ""
    for example in found:
        if example.category != category:
            category = example.category
            lines.append(f"{category}:")
        lines.append(f"  {example.name.ljust(width)}  {example.title}")
    return "\n".join(lines)


def _run_experiment(example: Example, picture: Path | None) -> int:
    with jax.enable_x64(True):
        report = report_on(str(example.path), (), Wanted(plot=picture is not None, picture=picture))
    if report.status == "wrong":
        raise InputError(report.message)
    write(as_text(report))
    return report.exit_status


def _run_program(example: Example, picture: Path | None) -> int:
    """Runs a program as Python would, but for windows; what it draws is written if asked for."""
    status = 0
    with _as_program(example.path):
        try:
            runpy.run_path(str(example.path), run_name="__main__")
        except SystemExit as left:
            status = _status(left.code)
        except Exception as error:
            print(f"{example.name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            status = 1
        for path in _saved(None if status else picture):
            write(f"wrote {path}")
    return status


def _status(code: Any) -> int:
    """The exit status of a program that ended itself: 0 or 1."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    return int(bool(code))


@contextlib.contextmanager
def _as_program(path: Path) -> Iterator[None]:
    """Arguments, folder of imports and matplotlib's backend as a program has them."""
    arguments, folders, backend = sys.argv, list(sys.path), os.environ.get("MPLBACKEND")
    sys.argv = [str(path)]
    sys.path.insert(0, str(path.parent))
    os.environ["MPLBACKEND"] = "Agg"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*non-interactive.*")
            yield
    finally:
        sys.argv, sys.path[:] = arguments, folders
        if backend is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = backend


def _saved(picture: Path | None) -> list[Path]:
    """Writes the figures that are open, if a picture is asked for, and closes all."""
    if "matplotlib.pyplot" not in sys.modules:
        if picture is not None:
            raise InputError("--plot: this example draws nothing")
        return []
    plt: Any = sys.modules["matplotlib.pyplot"]
    written = []
    try:
        for index, number in enumerate(plt.get_fignums() if picture is not None else ()):
            assert picture is not None
            after = "" if index == 0 else f"_{index + 1}"
            written.append(picture.with_stem(picture.stem + after))
            plt.figure(number).savefig(written[-1], dpi=144)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--plot {picture}: cannot be written: {reason}") from None
    finally:
        plt.close("all")
    if picture is not None and not written:
        raise InputError("--plot: this example leaves no figure open")
    return written
