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

    A register along a dimension is the integral from the centre, and a deregister the derivative.
    Every other atom acts on the function's value at each point. Streams are polynomials:
    coefficients that they do not have are zero. Loops that registers guard are solved order by
    order, in one `lax.scan`. A loop that no register cuts is a fixed point at order 0, and one
    linear solve at each later order.

    **Arguments:**

    - `circuit`: any circuit without noise and unit delays.
    - `streams`: one for each input wire, all about one centre along each dimension.
    - `order`: the highest order to compute: a number for all dimensions, or one for each, by name.
    - `unroll`: unrolls the loop over orders. This may run faster at small orders; at large ones it
      compiles slowly.
    - `fixed_point`: how loops that no register cuts are solved.

    **Returns:** a stream, or a tuple of streams if the circuit does not have exactly one output.
    Coefficients have the shape `[*value, *(order + 1)]`, with an axis for each dimension of the
    run: first those that `order` names, then those of the streams, then those of the circuit.

    **Raises:**

    - `DegreeError` if the number of streams differs from the number of inputs.
    - `DimensionError` for an unknown dimension, or one without an order.
    - `LoopError` for a loop that takes more derivatives than it integrates.
    - `SimulationError`, with status `not_converged`, if no fixed point of a loop was found. Under a
      trace nothing is raised; what depends on the loop is NaN.

    ```python
    grow = (ag.Add() >> ag.Split() >> ag.Id() @ ag.Register("t")).trace()
    ag.series(grow, ag.Stream([1.0], "t"), order=5)  # e^t: f = 1 + ∫ f dt
    ```
    """
    return power_series(circuit, streams, order, unroll, fixed_point)
