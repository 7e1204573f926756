"""What commands of the command line have in common."""

import argparse
from collections.abc import Callable
from typing import Any


class _Parser(argparse.ArgumentParser):
    """A parser that takes options between positional arguments: `run a.toml --plot b.toml`."""

    _inside = False

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        # Some versions of Python come back here from the call below, once or twice.
        if self._inside:
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


class Commands:
    """The commands of a parser. `add` gives each its name, its function and its help.

    The function takes what was parsed and returns the exit status: 0, 1 where a run failed or
    missed what was expected, 2 for bad input.
    """

    def __init__(self, parser: argparse.ArgumentParser):
        self._commands: Any = parser.add_subparsers(
            dest="command", required=True, metavar="COMMAND", parser_class=_Parser
        )

    def add(
        self,
        name: str,
        run: Callable[[argparse.Namespace], int],
        help: str,
        description: str,
        epilog: str = "",
    ) -> argparse.ArgumentParser:
        form = argparse.RawDescriptionHelpFormatter
        texts = {"help": help, "description": description, "epilog": epilog}
        added = self._commands.add_parser(name, formatter_class=form, allow_abbrev=False, **texts)
        added.set_defaults(run=run)
        return added
