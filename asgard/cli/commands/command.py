"""What commands of the command line have in common."""

import argparse
from collections.abc import Callable
from typing import Any


class Commands:
    """The commands of a parser. `add` gives each its name, its function and its help.

    The function takes what was parsed and returns the exit status: 0, 1 where a run failed or
    missed what was expected, 2 for bad input.
    """

    def __init__(self, parser: argparse.ArgumentParser):
        self._commands: Any = parser.add_subparsers(
            dest="command", required=True, metavar="COMMAND"
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
