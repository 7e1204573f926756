"""Derivatives of runs that are run again for them, and record their paths then."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Array

from ...jaxprs.lane_call import Avals, Chain, Flags, bind
from ...jaxprs.lane_call import Run as LaneRun
from .derivatives import Cotangent, Tangent

if TYPE_CHECKING:
    from .integral import Integral


class Again(Chain):
    """A derivative of a run in more lanes than a kernel has: each tile is run again, and records
    its path.

    A path has room for `max_steps` sizes in each lane. That of all lanes would be put together from
    those of the tiles, and taken apart again, in seven passes through memory: the gradient of 1,000
    runs of a small network by default took 680 ms, now 71 ms.

    Its operands are those of the run, and those in which the derivative is linear.
    """

    def __init__(self, kept: "Integral", call: Tangent | Cotangent):
        self.kept, self.call = kept, call

    @property
    def tile(self) -> int:
        return self.call.tile

    def outline(self, avals: Avals) -> list[Any]:
        return self.call.outline(avals)

    def in_turn(
        self, run: LaneRun, operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        return run(self.call, *self._recorded(run, operands, laned, size), size)

    def plain(self, *operands: Any) -> list[Any]:
        return self.call.plain(*self._recorded(bind, operands, (False,) * len(operands), 0)[0])

    def _recorded(
        self, run: LaneRun, operands: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Any], Flags]:
        """The operands of the derivative, by a run that records its path, and which have lanes."""
        count = len(self.call.moving)
        primals, flags = operands[:count], laned[:count]
        *recorded, _ = run(self.kept, primals, flags, size)
        about = self.kept.about(primals, self.kept.run_of(primals, flags, recorded))
        flags = (*flags, *(size > 0,) * len(about), *laned[count:])
        return [*primals, *about, *operands[count:]], flags

    def transpose(
        self, cotangents: Sequence[Any], operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        count = len(self.call.moving)
        call, linear, flags = self.call.transposed(cotangents, laned[:count], laned[count:], size)
        again = Again(self.kept, call)
        results = bind(again, [*operands[:count], *linear], (*laned[:count], *flags), size)
        return self.call.of_transposed(results)
