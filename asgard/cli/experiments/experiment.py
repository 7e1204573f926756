"""One experiment from its document to its report."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path as File

import numpy as np

from ...errors import FitError, SimulationError
from ..faults import InputError, advised, explained
from .comparing import compare
from .document import Document, read_document
from .model import Model, build
from .results import Result
from .running import run
from .schema import read_experiment
from .setting import with_settings
from .summary import Report
from .writing import write_picture, write_report, write_table


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is written: a folder for tables, objects and pictures; whether there is a picture."""

    folder: File | None = None
    plot: bool = False
    picture: File | None = None


def read_model(name: str, settings: Sequence[str] = ()) -> Model:
    """The model of a file, checked. Nothing of it has run. Raises `InputError`."""
    document = with_settings(read_document(name), settings)
    return model_of(document)


def model_of(document: Document) -> Model:
    """The model of a document, checked. Raises `InputError`."""
    # What overflows is an error of ours, and no warning of NumPy's beside it.
    with np.errstate(all="ignore"):
        return build(read_experiment(document), document)


def report_on(name: str, settings: Sequence[str], wanted: Wanted) -> Report:
    """What comes of a file."""
    title = ""
    try:
        model = read_model(name, settings)
        title = model.experiment.title
        return report_of(model, wanted)
    except InputError as error:
        return Report(name, title, "wrong", str(error))
    except Exception as error:  # the other files run, whatever goes wrong in this one
        return Report(name, title, "wrong", f"{name}: {explained(error)}")


def report_of(model: Model, wanted: Wanted) -> Report:
    """What comes of a model. Raises `InputError` for what is wrong with it, and `ImportError`."""
    name, title = model.document.name, model.experiment.title
    with np.errstate(all="ignore"):
        try:
            result = run(model)
        except (SimulationError, FitError) as error:
            message = advised(str(error), bool(name))
            return _saved(Report(name, title, "failed", message), wanted)
        comparisons = tuple(compare(result))
    status = "ok" if all(one.met for one in comparisons) else "missed"
    return _saved(Report(name, title, status, "", result, comparisons), wanted)


def _saved(report: Report, wanted: Wanted) -> Report:
    """The report, once its files are written."""
    stem = File(report.file).stem or "run"
    written: list[File] = []
    if report.result is not None:
        written += _results(report.result, stem, wanted)
    if wanted.folder is None:
        return dataclasses.replace(report, written=tuple(map(str, written)))
    path = wanted.folder / f"{stem}.json"
    report = dataclasses.replace(report, written=tuple(map(str, [*written, path])))
    write_report(report, path)
    return report


def _results(result: Result, stem: str, wanted: Wanted) -> list[File]:
    written = []
    if wanted.folder is not None:
        written.append(wanted.folder / f"{stem}.csv")
        write_table(result, written[0])
    if wanted.plot:
        written.append(wanted.picture or (wanted.folder or File()) / f"{stem}.png")
        write_picture(result, written[-1])
    return written
