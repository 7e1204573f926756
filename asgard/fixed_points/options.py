"""Fixed points: how loops that no register cuts are solved."""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, Int, Shaped

from ..circuits.fields import NOT_NUMBERS
from ..errors import CircuitError, SimulationError
from ..jaxprs.concrete import is_concrete
from ..status import message
from .methods.auto import Auto
from .methods.method import Method
from .methods.newton import Newton
from .methods.picard import Picard

# The methods by their short names.
METHODS: dict[str, Method] = {"auto": Auto(), "picard": Picard(), "newton": Newton()}


class FixedPoint(eqx.Module):
    """How loops that no register cuts are solved: x = f(a, x), for all wires of a loop at once.

    The unknowns x are as few wires as cut every cycle of the loop, and those that `guess` names.
    Derivatives come from the implicit function theorem, at the cost of one linear solve. Only
    another `method` compiles again.

    **Arguments:**

    - `method`: a name, or a `Method` of your own.
        - "picard": x := f(x), which needs a contraction.
        - "newton": Newton's steps on f(x) - x, halved as long as the residual does not fall. The
          Jacobian is found in forward mode. With more than 512 unknowns it is not formed, and GMRES
          finds the steps.
        - "auto": Picard's steps first. After three of them it goes over to Newton's method if they
          do not contract, or would take more than 4 further turns, and one for each unknown, at the
          rate observed. From steps that lead away it goes back to the guess.
    - `rtol`, `atol`: the allowed error, relative to the largest magnitude on each wire and
      absolute. An `rtol` below the dtype's resolution, such as the default, asks for the last
      digits.
    - `max_steps`: the largest number of evaluations of the loop.
    - `damping`: the part of a step that is taken, in (0, 1].
    - `guess`: where to start, by the names that `Var` gives wires; 0 elsewhere. In a simulation
      this is where the first solve starts. Later ones start where the solution's Taylor polynomial
      leads, or from the solution before. A guess has the shape of the loop's values, if these
      cannot tell it.

    **Raises:** `CircuitError` for an unknown method and numbers out of range.

    ```python
    golden = (ag.Function(lambda x: 1 + 1 / x, 1) >> ag.Var("x") >> ag.Split()).trace()
    ag.series(golden >> ag.Register("t"), order=1, fixed_point=ag.FixedPoint(guess={"x": 1.0}))
    ```
    """

    method: Method = eqx.field(static=True)
    rtol: Float[Array | np.ndarray, ""]
    atol: Float[Array | np.ndarray, ""]
    max_steps: Int[Array | np.ndarray, ""]
    damping: Float[Array | np.ndarray, ""]
    guess: dict[str, Inexact[Array | np.ndarray, "..."]]

    def __init__(
        self,
        method: str | Method = "auto",
        rtol: Any = 0.0,
        atol: Any = 0.0,
        max_steps: Any = 1000,
        damping: Any = 1.0,
        guess: Mapping[str, Any] | None = None,
    ):
        if isinstance(method, str) and method in METHODS:
            method = METHODS[method]
        if not isinstance(method, Method):
            raise CircuitError(
                f"FixedPoint: method must be one of {', '.join(METHODS)}, or a Method, "
                f"not {method!r}"
            )
        self.method = method
        self.rtol = _number("rtol", rtol, np.float64)
        self.atol = _number("atol", atol, np.float64)
        self.max_steps = _number("max_steps", max_steps, np.int32)
        self.damping = _number("damping", damping, np.float64)
        if guess is not None and not isinstance(guess, Mapping):
            raise CircuitError(
                f'FixedPoint: guess must be numbers by wire names, such as {{"x": 1.0}}, not '
                f"{guess!r}"
            )
        self.guess = {name: _array(f"guess[{name!r}]", x) for name, x in (guess or {}).items()}
        for name, holds, range_ in (
            ("rtol", self.rtol >= 0, "at least 0"),
            ("atol", self.atol >= 0, "at least 0"),
            ("max_steps", self.max_steps >= 1, "at least 1"),
            ("damping", (self.damping > 0) & (self.damping <= 1), "above 0 and at most 1"),
        ):
            if is_concrete(holds) and not np.all(holds):
                raise CircuitError(
                    f"FixedPoint: {name} must be {range_}, not {getattr(self, name)}"
                )


def check_fixed_point(owner: str, value: Any) -> None:
    """Raises `CircuitError` where an option is no `FixedPoint`."""
    if not isinstance(value, FixedPoint):
        raise CircuitError(f"{owner}: fixed_point must be a FixedPoint, not {value!r}")


class Solve(eqx.Module):
    """How a fixed point was solved: the turns taken, the residual |f(x) - x|, and whether the solve
    failed although what the loop reads is finite."""

    turns: Shaped[Array, "..."]
    residual: Shaped[Array, "..."]
    failed: Shaped[Array, "..."]

    def check(self, name: str) -> None:
        """Raises `SimulationError` for a loop that was not solved, unless that is traced."""
        if is_concrete(self.failed) and bool(jnp.any(self.failed)):
            raise SimulationError(
                f"not_converged: {missed(name, int(self.turns), float(self.residual))}; "
                f"{message('not_converged')}",
                "not_converged",
            )


def missed(name: str, turns: int, residual: float) -> str:
    """What happened to a loop that was not solved."""
    if residual == 0:
        return f"{name} has more than one solution near the one that it reaches in {turns} steps"
    after = f"after {turns} step{'s' if turns != 1 else ''}"
    if not math.isfinite(residual):
        begun = "at its guess, which another one may mend" if turns <= 1 else after
        return f"{name} is not finite {begun}"
    return f"{name} misses its fixed point by {residual:.3g} {after}"


def _number(name: str, value: Any, dtype: Any) -> Any:
    """A number as an array of NumPy, or of JAX where it is one already."""
    array = value if eqx.is_array(value) else _plain(name, value)
    if array.shape != ():
        raise CircuitError(f"FixedPoint: {name} must be a number, not of shape {array.shape}")
    if dtype is np.int32 and not jnp.issubdtype(array.dtype, jnp.integer):
        raise CircuitError(f"FixedPoint: {name} must be an integer, not {value!r}")
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise CircuitError(f"FixedPoint: {name} must be a real number, not {value!r}")
    if eqx.is_array(array) and jnp.issubdtype(array.dtype, dtype):
        return array
    return array.astype(
        jnp.result_type(float) if eqx.is_array(array) and dtype is np.float64 else dtype
    )


def _array(name: str, value: Any) -> Any:
    array = value if eqx.is_array(value) else _plain(name, value)
    return (
        array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float))
    )


def _plain(name: str, value: Any) -> np.ndarray:
    # NumPy's arrays, as defaults are made when the package is imported.
    try:
        array = np.asarray(value)
    except NOT_NUMBERS:
        array = np.asarray(None)
    if array.dtype.kind not in "iufc":
        raise CircuitError(f"FixedPoint: {name} must be a number, not {value!r}")
    return array
