"""The result of a fit, and how it ended."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int

from ..circuits.circuit import Circuit
from ..circuits.pictured import picture
from ..errors import FitError
from ..jaxprs.concrete import is_concrete
from ..status import Counted


class FitStatus(eqx.Enumeration, metaclass=Counted):
    """How a fit ended. Compares with `==` under tracing; each lane of a `vmap` has its own."""

    steps = "all steps were taken"
    converged = "the tolerance is met"
    interrupted = "the fit was interrupted before its last step; it goes on from a `state` or file"
    nonfinite = (
        "the loss or a step is not finite: a run may have failed (too few max_steps, a "
        "singularity): simulate it near the error's fit.circuit to see how; or try smaller or "
        "clipped steps, optax.apply_if_finite, a start that is nearer, or a constraint such as "
        "Positive"
    )


class Fit(eqx.Module):
    """The result of a fit.

    - `circuit`: the circuit where the fit ended; after a failure, where the loss was last finite.
    - `losses`: the loss before each step, `[steps]`; NaN for steps that were not taken. Those of a
      fit from a checkpoint are of all steps, those of a fit from a `state` of its own.
    - `loss`: the loss of `circuit`; infinite if none was finite. With noise and minibatches it is
      that of the next step's draw.
    - `steps`: the number of steps taken.
    - `status`: how the fit ended.
    - `state`: lets a later `fit` go on from here.
    """

    circuit: Circuit
    losses: Float[Array, "*batch steps"]
    loss: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]
    status: FitStatus
    state: Any = None

    def check(self) -> "Fit":
        """Raises `FitError` if the fit failed, and returns it otherwise.

        Under a trace nothing is known yet, and nothing is raised.
        """
        failed = self.status == FitStatus.nonfinite
        if not is_concrete(failed) or not np.any(failed):
            return self
        said = FitStatus[FitStatus.nonfinite]
        if np.ndim(failed):
            where = f"in {int(np.sum(failed))} of {np.size(failed)} fits"
        elif np.isposinf(self.loss):
            where = "at the start"
            said = (
                "the loss is not finite there: the data may hold NaN, or the run fails (too few "
                "max_steps, a singularity); simulate the start to see"
            )
        else:
            where = f"at step {int(self.steps)}"
        error = FitError(f"nonfinite {where}: {said}", "nonfinite")
        error.fit = self
        raise error

    def plot(self, *, ax: Any = None) -> Any:
        """Draws the loss before each step and at the end; a line for each fit of a batch.

        **Arguments:** `ax`: axes of matplotlib to draw on; by default those of a new figure.

        **Returns:** the axes, logarithmic where all losses are above 0.

        **Raises:** `CircuitError` under a JAX transformation; `ImportError` without matplotlib.
        """
        return picture("fit.plot", self, ax=ax)

    def plot_data(
        self,
        model: Callable[[Circuit, Array], Any],
        ts: Any,
        data: Any,
        *,
        uncertainty: Any = None,
        ax: Any = None,
        units: Mapping[str, str] | None = None,
    ) -> Any:
        """Draws data as points, and the fitted model between them as lines.

        **Arguments:**

        - `model`: `model(circuit, ts)` returns an array `[times]`, or a dictionary or tuple of
          them: what the data are of.
        - `ts`, `data`: the times of the data, and the data in the form of what `model` returns.
        - `uncertainty`: what `ag.uncertainty` found at this fit. Then bands are of two standard
          errors of the model, to first order in the numbers' errors; the data's own noise is not in
          them.
        - `ax`, `units`: as for `Trajectory.plot`.

        **Returns:** the axes.

        **Raises:** as `plot`, and `CircuitError` for data that do not fit the model.

        ```python
        fit.plot_data(lambda circuit, ts: ag.simulate(circuit, ts).output, ts, data)
        ```
        """
        options = {"uncertainty": uncertainty, "ax": ax, "units": units}
        return picture("fit.plot_data", self, model, ts, data, **options)

    def __repr__(self) -> str:
        return picture("fit.text", self)

    def _repr_html_(self) -> str:
        return picture("fit.html", self)
