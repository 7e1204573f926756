"""Systems said in four ways: as a function, by a right-hand side, as equations, wired by hand."""

from . import control, oscillators, rates, sequences
from .system import System

SYSTEMS: list[System] = [
    *oscillators.SYSTEMS,
    *rates.SYSTEMS,
    *control.SYSTEMS,
    *sequences.SYSTEMS,
]
