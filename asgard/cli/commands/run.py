"""`asgard run`: experiments in files."""

import argparse
import sys
from pathlib import Path

import jax

from ..experiments.experiment import Wanted, read_model, report_on
from ..experiments.summary import Report, as_json, as_text
from ..experiments.writing import check_folder, check_plots
from ..faults import InputError
from ..output import write
from ..report import to_json
from .command import Commands

_HELP = """\
Runs experiments and compares what comes out with what they expect. An experiment is a TOML file;
the page on experiments says what may stand in it.
"""
_EPILOG = """\
The exit status is 0 where all is as expected, 1 where a run failed or missed what was expected, and
2 for a file that is wrong. --json prints one object for each file, in a line.

examples:
  asgard run decay.toml
  asgard run decay.toml --set rate=2.0 --set times.until=5 --plot
  asgard run examples/*/*.toml --out results
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    text = "run experiments and compare them with what they expect"
    command = commands.add("run", run, text, _HELP, _EPILOG)
    command.add_argument("files", nargs="+", metavar="FILE", help="a TOML file")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="another value of a parameter, an initial value, or of any key: times.until=5",
    )
    command.add_argument("--out", metavar="DIR", help="write tables (CSV) and JSON to a folder")
    command.add_argument(
        "--plot", action="store_true", help="draw pictures (PNG), into --out or the present folder"
    )
    command.add_argument("--json", action="store_true", help="print JSON in place of text")
    command.add_argument(
        "--check", action="store_true", help="read and check the files, and run nothing"
    )


def run(options: argparse.Namespace) -> int:
    """Runs the files, one after another."""
    folder = None if options.out is None else Path(options.out)
    if folder is not None:
        check_folder(folder)
    if options.plot:
        check_plots()
    wanted = Wanted(folder, options.plot)
    worst, statuses = 0, []
    for name in options.files:
        with jax.enable_x64(True):
            report = _checked(name, options) if options.check else _report(name, options, wanted)
        if report.status == "wrong":
            print(report.message, file=sys.stderr)
        if options.json:
            write(to_json(as_json(report)))
        elif report.status != "wrong":
            write(as_text(report))
        statuses.append(report.status)
        worst = max(worst, report.exit_status)
    if len(statuses) > 1 and not options.json:
        counts = (f"{statuses.count(one)} {one}" for one in dict.fromkeys(statuses))
        write(f"{len(statuses)} files: {', '.join(counts)}")
    return worst


def _report(name: str, options: argparse.Namespace, wanted: Wanted) -> Report:
    return report_on(name, options.settings, wanted)


def _checked(name: str, options: argparse.Namespace) -> Report:
    """The report on a file that is read and checked only."""
    try:
        model = read_model(name, options.settings)
    except InputError as error:
        return Report(name, "", "wrong", str(error))
    return Report(name, model.experiment.title, "ok")
