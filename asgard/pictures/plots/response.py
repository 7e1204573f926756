"""The Bode plot of a circuit near a point."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ...circuits.circuit import Circuit
from ...circuits.fields import as_reals
from ...errors import CircuitError
from ...runs.linear import Linearization, linearize, response
from .axes import Units, check_axes, check_units, in_legend, known, legend, looks, one_of, pyplot


def plot_frequency_response(
    system: Circuit | Linearization,
    w: Any,
    *,
    output: str | None = None,
    input: str | None = None,
    label: str | None = None,
    axes: Any = None,
    units: Units = None,
    **options: Any,
) -> tuple[Any, Any]:
    """A Bode plot: how a circuit near a point answers to waves, as `ag.frequency_response` has it.

    **Arguments:**

    - `system`: a circuit, or a `Linearization` at one point.
    - `w`: angular frequencies above 0, `[frequencies]`, in radians per unit of time, or per sample.
    - `output`, `input`: the names of an output and an input, as a `Linearization` has them; all of
      them by default, a line for each pair.
    - `label`: what the legend calls the line, where there is one; several are called by
      their pairs.
    - `axes`: a pair of axes of matplotlib, for gain and phase, such as those of an earlier plot; by
      default those of a new figure. Other plots draw on one, their `ax`.
    - `units`: the unit of `"time"`, for the label of the frequencies.
    - `options`: for a circuit, those of `ag.linearize`: `at`, `inputs`, `calculus`, `dim`, `t`.

    **Returns:** two axes of matplotlib: gain in decibels, and unwrapped phase in degrees.

    **Raises:** as `ag.linearize`; `SimulationError` for a linearization that failed; `CircuitError`
    for an unknown name and for frequencies that are not above 0; `ImportError` without matplotlib.

    ```python
    gain, phase = ag.plot_frequency_response(circuit, jnp.logspace(-2, 2, 200), inputs=(0.0,))
    ```
    """
    what = "plot_frequency_response"
    pyplot()
    check_units(what, units)
    known(what, (system, w, options))
    if isinstance(system, Linearization) and options:
        raise CircuitError(f"{what}: a Linearization has its point, and takes no {list(options)}")
    linear = system if isinstance(system, Linearization) else linearize(system, **options)
    linear.check()
    if linear.A.ndim != 2:
        raise CircuitError(f"{what} draws one point, and this is a linearization along times")
    frequencies = as_reals("w", w)
    if frequencies.ndim != 1 or not bool(jnp.all(frequencies > 0)):
        raise CircuitError(f"{what}: w must be frequencies above 0, [frequencies]")
    rows = _places(what, output, linear.outputs)
    columns = _places(what, input, linear.inputs)
    pairs = [(row, column) for row in rows for column in columns]
    answers = np.asarray(response(linear, frequencies))
    labels = [f"{linear.outputs[row]} / {linear.inputs[column]}" for row, column in pairs]
    if len(pairs) == 1:
        labels = [label]
    gain, phase = _panels(what, axes)
    some = in_legend(len(pairs))
    for spot, (color, styles) in enumerate(looks(len(pairs), gain)):
        answer, said = answers[:, *pairs[spot]], labels[spot] if spot in some else None
        style = {"color": color, "linestyle": styles[0], "linewidth": 1.6}
        with np.errstate(divide="ignore"):
            gain.plot(frequencies, 20 * np.log10(np.abs(answer)), label=said, **style)
        phase.plot(frequencies, np.degrees(np.unwrap(np.angle(answer))), **style)
    per = "sample" if linear.discrete else (units or {}).get("time", "time")
    phase.set_xlabel(f"angular frequency (rad/{per})")
    legend(gain, panels=2)
    return gain, phase


def _places(what: str, name: str | None, names: tuple[str, ...]) -> list[int]:
    """The row or column of a name, or all."""
    if name is None:
        return list(range(len(names)))
    if name not in names:
        raise one_of(what, name, names)
    return [names.index(name)]


def _panels(what: str, axes: Any) -> tuple[Any, Any]:
    """The two axes given, or those of a new figure."""
    if axes is None:
        panels = pyplot().subplots(2, 1, sharex=True, figsize=(6.4, 4.8), layout="constrained")[1]
        for panel in panels:
            panel.set_xscale("log")
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(which="both", color="0.92")
            panel.set_axisbelow(True)
    else:
        panels = axes
        if not isinstance(axes, list | tuple | np.ndarray) or len(axes) != 2:
            raise CircuitError(f"{what}: axes takes two axes of matplotlib, not {axes!r:.60}")
        for panel in panels:
            check_axes(what, panel)
    gain, phase = panels
    gain.set_ylabel("gain (dB)")
    phase.set_ylabel("phase (°)")
    return gain, phase
