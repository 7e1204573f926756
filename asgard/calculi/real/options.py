"""What runs read of a `Real`."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array

from ...fixed_points.options import FixedPoint
from ..events import Event
from .methods.method import StepMethod
from .tolerances import Tolerance


@runtime_checkable
class Options(Protocol):
    """The fields of `Real`, by which it says how a run is made."""

    order: int | tuple[tuple[str, int], ...] | None
    method: StepMethod | None
    tolerance: str
    rtol: Tolerance
    atol: Tolerance
    max_steps: int
    max_step: Array | None
    breakpoints: Array | None
    noise: str
    events: tuple[Event, ...]
    max_events: int
    max_history: int
    dense: bool
    fixed_point: FixedPoint
