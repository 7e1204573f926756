"""The data of a fit, read from a CSV file."""

import csv
import dataclasses
import math
from pathlib import Path as File

import numpy as np

from ..faults import InputError
from .document import printable
from .kinds import did_you_mean
from .model import Model

_MOST_BYTES = 50_000_000
_MOST_ROWS = 100_000


@dataclasses.dataclass(frozen=True)
class Data:
    """Measured values of wires by name, `[times]` each, at `ts`."""

    ts: np.ndarray
    columns: dict[str, np.ndarray]


def read_data(model: Model) -> Data:
    """The data that a fit names. Raises `InputError` that says the line."""
    fit, document = model.experiment.fit, model.document
    assert fit is not None
    file = document.folder / fit.data
    header, rows = _read(file, model)
    if fit.time not in header:
        hint = did_you_mean(fit.time, header) or f"; they are {', '.join(header)}"
        raise document.fault(("fit", "time"), f"{file} has no column {fit.time}{hint}")
    wires = fit.columns or tuple(name for name in header if name != fit.time)
    for index, name in enumerate(wires):
        if name not in header:
            hint = did_you_mean(name, header) or f"; they are {', '.join(header)}"
            raise document.fault(("fit", "columns", index), f"{file} has no column {name}{hint}")
        if name not in model.wires:
            hint = did_you_mean(name, model.wires) or f"; they are {', '.join(model.wires)}"
            path = ("fit", "columns", index) if fit.columns else ("fit", "data")
            raise document.fault(path, f"the column {name} of {file} is no wire{hint}")
    places = {name: header.index(name) for name in (fit.time, *wires)}
    numbers = {
        name: np.array([_number(file, line, name, row[at]) for line, row in rows])
        for name, at in places.items()
    }
    ts = numbers.pop(fit.time)
    for (line, _), step in zip(rows[1:], np.diff(ts), strict=True):
        if step <= 0:
            raise InputError(f"{file}:{line}: {fit.time}: expected times that increase")
    if fit.scale == "logarithmic":
        for name, column in numbers.items():
            for (line, _), value in zip(rows, column, strict=True):
                if value <= 0:
                    raise InputError(
                        f"{file}:{line}: {name}: found {value:g}, expected a number "
                        "above 0, as the scale is logarithmic"
                    )
    return Data(ts, numbers)


def _read(file: File, model: Model) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and the rows that are not empty, with their lines."""
    path, document = ("fit", "data"), model.document
    try:
        if not file.is_file():
            raise document.fault(path, f"there is no file {file}")
        if file.stat().st_size > _MOST_BYTES:
            raise document.fault(path, f"{file} has more than {_MOST_BYTES:,} bytes")
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise document.fault(path, f"{file} cannot be read as CSV: {reason}") from None
    if len(rows) < 2:
        raise InputError(f"{file}:1: found {len(rows)} lines, expected names and rows of numbers")
    if len(rows) > _MOST_ROWS:
        raise InputError(f"{file}:{rows[_MOST_ROWS][0]}: expected {_MOST_ROWS:,} rows at most")
    header = [cell.strip() for cell in rows[0][1]]
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"{file}:{rows[0][0]}: two columns are named {printable(name, 40)}")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(f"{file}:{line}: found {len(row)} cells, expected {len(header)}")
    return header, rows[1:]


def _number(file: File, line: int, name: str, cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        text = printable(cell, 40)
        raise InputError(f'{file}:{line}: {name}: found "{text}", expected a number')
    return number
