"""`series`: a circuit from streams to streams."""

from collections.abc import Mapping

from ..calculi.real.series import power_series
from ..circuits.circuit import Circuit
from ..circuits.stream import Stream
from ..fixed_points.options import FixedPoint


def series(
    circuit: Circuit,
    *streams: Stream,
    order: int | Mapping[str, int],
    unroll: bool = False,
    fixed_point: FixedPoint = FixedPoint(),  # noqa: B008 - frozen, and holds no array of JAX
) -> Stream | tuple[Stream, ...]:
    """The power series of a circuit's outputs, from those of its inputs.

    A register along a dimension is the integral from the centre, a deregister the derivative; every
    other atom acts on the function's value at each point. Streams are polynomials: what they do not
    give is zero. Loops that registers guard are solved order by order, in one `lax.scan`. A loop
    that no register cuts is a fixed point at order 0, and one linear solve at every order past it.

    **Arguments:**

    - `circuit`: any circuit without noise and unit delays.
    - `streams`: one for each input wire, all about one centre along each dimension.
    - `order`: the highest order to compute: a number for all dimensions, or one for each, by name.
    - `unroll`: unrolls the orders in place of a scan; may run faster at small orders, and compiles
      slower the larger they are.
    - `fixed_point`: how loops that no register cuts are solved.

    **Returns:** a stream, or a tuple of them where the circuit has not one output; coefficients of
    shape `[*value, *(order + 1)]` over all dimensions of the run: those of `order` where it names
    them, else those of the streams and then those of the circuit.

    **Raises:** `DegreeError` where the streams are not as many as the inputs, `DimensionError` for
    dimensions without an order or unknown, `LoopError` for loops that take more derivatives than
    they integrate; `SimulationError`, with status `not_converged`, for a loop without a fixed point
    that is found. Under a trace that raises nothing, and what depends on the loop is NaN.

    ```python
    grow = (ag.Add() >> ag.Split() >> ag.Id() @ ag.Register("t")).trace()
    ag.series(grow, ag.Stream([1.0], "t"), order=5)  # e^t: f = 1 + ∫ f dt
    ```
    """
    return power_series(circuit, streams, order, unroll, fixed_point)
