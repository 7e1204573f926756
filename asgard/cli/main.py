"""The command line, `asgard` or `python -m asgard`. Each command is a file of `commands`."""

import argparse
import importlib.metadata
import re
import sys
from collections.abc import Sequence

from .commands import check, draw, example, run, series, simulate
from .commands.command import Commands
from .faults import explained

_INTERRUPTED = 130  # as shells say it


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line on `argv`, or on the process's own arguments.

    Returns the exit status: 0; 1 where a run failed or missed what was expected; 2 for bad input,
    with one message on stderr. Exits as argparse does for `--help`, `--version` and arguments that
    do not fit the usage.
    """
    options = _parser().parse_args(_attach_negative(sys.argv[1:] if argv is None else argv))
    try:
        return options.run(options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        print(f"asgard {options.command}: error: {explained(error)}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asgard", description="Dynamical systems as typed circuits.", allow_abbrev=False
    )
    try:
        version = importlib.metadata.version("asgard")
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed)"
    parser.add_argument("--version", action="version", version=f"asgard {version}")
    commands = Commands(parser)
    for command in (run, simulate, draw, example, series, check):
        command.add(commands)
    return parser


def _attach_negative(argv: Sequence[str]) -> list[str]:
    """Joins `--input -1,0` to `--input=-1,0`, as argparse reads a leading minus as an option."""
    joined: list[str] = []
    for argument in argv:
        if joined[-1:] in (["--input"], ["--order"]) and re.match(r"-(\d|\.|inf|nan)", argument):
            joined[-1] += "=" + argument
        else:
            joined.append(argument)
    return joined
