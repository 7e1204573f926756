"""Parameters that are formulas: `b = "8/3"`."""

import dataclasses
from typing import Any

import numpy as np

from .document import Document
from .formula import read_formula
from .schema import Experiment


def with_numbers(experiment: Experiment, document: Document) -> Experiment:
    """The experiment whose parameters are numbers: formulas are computed, in their order.

    Raises `InputError` for a formula that reads more than the parameters before it, and for one
    without a finite value.
    """
    numbers: dict[str, Any] = {}
    for name, value in experiment.parameters.items():
        if isinstance(value, str):
            path = ("parameters", name)
            formula = read_formula(value, numbers, path, document, "numbers and earlier parameters")
            found = np.asarray(formula(numbers), np.float64)
            if not np.all(np.isfinite(found)):
                raise document.fault(path, f"{value} is {found}, expected a finite number")
            value = found if found.ndim else float(found)
        numbers[name] = value
    return dataclasses.replace(experiment, parameters=numbers)
