"""Results as files: tables, objects and pictures."""

import csv
import dataclasses
import importlib.util
from pathlib import Path as File
from typing import Any

from ...errors import CircuitError
from ..faults import InputError
from ..report import to_json
from .results import EnsembleResult, Result, RunResult, SeriesResult
from .summary import Report, as_json


def check_folder(folder: File) -> None:
    """Makes the folder of results. Raises `InputError` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".asgard"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--out {folder}: cannot be written: {reason}") from None


def check_plots() -> None:
    """Raises `InputError` where pictures cannot be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        message = '--plot: pictures need the package matplotlib: pip install "asgard[plot]"'
        raise InputError(message)


def check_picture(path: File) -> None:
    """Raises `InputError` where no picture can be drawn to a file, before what it shows is run."""
    check_plots()
    from matplotlib.figure import Figure

    if path.suffix[1:].lower() not in Figure().canvas.get_supported_filetypes():
        raise InputError(f"--plot {path}: expected a name that ends in .png, .svg or .pdf")
    check_parent("--plot", path)


def check_parent(option: str, path: File) -> None:
    """Raises `InputError` where there is no folder for a file."""
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: cannot be written: there is no folder {path.parent}")


def write_table(result: Result, path: File) -> None:
    """Writes the numbers as CSV, a column for each output and a row for each time."""
    columns = result.columns()
    with _opened(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def write_report(report: Report, path: File) -> None:
    """Writes all of it as JSON."""
    with _opened(path) as file:
        file.write(to_json(as_json(report)) + "\n")


def _opened(path: File) -> Any:
    try:
        return path.open("w", encoding="utf-8", newline="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be written: {reason}") from None


def write_picture(result: Result, path: File) -> None:
    """Draws what `output` asks for, by default all outputs over time."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    try:
        axes = _drawn(result)
    except CircuitError as error:
        raise result.model.document.fault(("output",), str(error)) from None
    figure = axes.get_figure()
    axes.set_title(result.model.experiment.title, loc="left", fontsize="medium")
    try:
        figure.savefig(path, dpi=144)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be written: {reason}") from None
    finally:
        plt.close(figure)


def _drawn(result: Result) -> Any:
    """The axes of the picture."""
    model, shown = result.model, result.model.experiment.output
    wires = shown.plot or model.labels
    if result.fitted is not None:
        fitted = result.fitted
        options = {"uncertainty": fitted.uncertainty, "units": model.units}
        data = fitted.data
        return fitted.fit.plot_data(fitted.distances.wires, data.ts, data.columns, **options)
    if isinstance(result, EnsembleResult):
        return _labelled(result.run, model.labels).plot(*wires, units=model.units)
    if isinstance(result, SeriesResult):
        return result.stream(wires[0]).plot(name=wires[0], units=model.units)
    assert isinstance(result, RunResult)
    events = {name: _labelled(seen, model.labels) for name, seen in result.run.events.items()}
    run = dataclasses.replace(_labelled(result.run, model.labels), events=events)
    if shown.phase:
        return run.phase(*shown.phase, units=model.units)
    return run.plot(*wires, units=model.units)


def _labelled(run: Any, labels: tuple[str, ...]) -> Any:
    """A run in which each output is a wire by its label, also where that is an expression."""
    names = run.names | dict(zip(labels, run.outputs, strict=True))
    return dataclasses.replace(run, names=names)
