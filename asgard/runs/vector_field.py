"""`vector_field`: a circuit as dy/dt = f(t, y), for solvers of other libraries."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array

from ..calculi.cut import Cut
from ..calculi.meanings import REAL, noise
from ..calculi.pointwise import Contents, Pointwise, Row
from ..calculi.real.calculus import Real
from ..circuits.circuit import Circuit, as_circuit
from ..circuits.fields import as_inexact, as_reals, precision
from ..errors import CircuitError
from ..fixed_points.options import FixedPoint
from ..jaxprs.compiling import Jit
from ..jaxprs.concrete import run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.settings import default_promotion
from .arguments import as_sources, check_dim
from .registers import check_held, register_names


def vector_field(
    circuit: Circuit,
    inputs: Sequence[Any] = (),
    *,
    calculus: Real = Real(),  # noqa: B008 - frozen, and holds no array
    dim: str | None = None,
) -> tuple[Callable[..., dict[str, Array]], dict[str, Array], Callable[..., Row]]:
    """A circuit as a differential equation, dy/dt = fn(t, y), for solvers of other libraries.

    y is what the registers along time hold. The inputs are part of the equation.

    **Arguments:**

    - `circuit`: any circuit that `simulate` runs under `Real`. Its functions need no series rules,
      unless it has a deregister along time.
    - `inputs`: one for each input wire, as for `simulate`.
    - `calculus`: a `Real`, of which `fixed_point`, `noise` and the orders along other dimensions
      are read. Steps and tolerances are the solver's.
    - `dim`: the dimension that is time, needed where the registers name several.

    **Returns:** `(fn, y0, read)`.

    - `fn(t, y, args=None)` is dy/dt, a dictionary like `y0`. `args` may be a circuit of the same
      structure, which replaces `circuit`: so a solver can differentiate by its arguments.
    - `y0` is what the registers hold at the start: an array for each register that outputs or named
      wires depend on. Its key is the name of the wire that the register drives (`Var`), else the
      register's name in `ag.parameters`, such as `register[0]`, else its position, such as
      `register 0`. Coefficient axes of other dimensions come first: `[*orders, *value]`.
    - `read(t, y, args=None)` has the `outputs`, the `output` and `["name"]` at one time.
      `jax.vmap(read)(ts, ys)` has them at many, as a `Trajectory` does.

    `fn` and `read` are pytrees, whose leaves are the numbers of the circuit and its inputs. A loop
    that no register cuts is solved at each call, from its first guess, and is NaN where it has no
    solution.

    **Raises:** `CircuitError` or one of its kind for what `simulate` refuses. So do `fn` and `read`
    for a `y` that is not like `y0` and `args` that are not like `circuit`.

    ```python
    decay = ag.ode(lambda t, y: {"x": -y["x"]}, {"x": 1.0})
    fn, y0, read = ag.vector_field(decay)  # y0 is {"x": 1.0}
    diffrax.diffeqsolve(diffrax.ODETerm(fn), diffrax.Tsit5(), 0.0, 1.0, 0.1, y0)
    ```
    """
    circuit = as_circuit("vector_field takes", circuit)
    if not isinstance(calculus, Real):
        raise CircuitError(f"vector_field: calculus must be Real(), not {calculus!r}")
    check_dim(dim)
    sources = as_sources(circuit, inputs, jnp.zeros(1))
    orders = calculus.order if isinstance(calculus.order, tuple) else ()
    held = calculus.fixed_point, calculus.noise, orders
    equation = _Equation(circuit, sources or None, *held, dim)
    y0 = run_compiled(_compiled_start, _start, equation)
    fn, read = Partial(_call_slope, equation), Partial(_call_read, equation)
    for function in (fn, read):  # raises here what the solver's first call would raise
        jax.eval_shape(function, 0.0, y0)
    return fn, y0, read


class _Equation(eqx.Module):
    """A circuit with its inputs, and what of `Real` its slope depends on.

    diffrax.BacksolveAdjoint takes no () in its pytree: `sources` is None for none.
    """

    circuit: Circuit
    sources: tuple[Any, ...] | None
    fixed_point: FixedPoint
    noise: str = eqx.field(static=True)
    orders: tuple[tuple[str, int], ...] = eqx.field(static=True)
    dim: str | None = eqx.field(static=True)

    def pointwise(self) -> Pointwise:
        """The circuit cut at its registers along time."""
        sources = self.sources or ()
        dtype = precision((self.circuit, sources)) or jnp.result_type(float)
        cut = Cut.of(
            self.circuit,
            jnp.zeros((), dtype),
            sources,
            self.dim,
            calculus="Real",
            meanings={**REAL, **noise(self.noise, "Real", "Real")},
            fixed_point=self.fixed_point,
            orders=dict(self.orders),
        )
        return Pointwise(cut, dtype)

    def names(self, pointwise: Pointwise) -> tuple[str, ...]:
        """What y calls the registers, in the order of contents."""
        wires = [cell.wire for cell in pointwise.cells]
        return register_names(self.circuit, pointwise.cut, wires)

    def contents(self, pointwise: Pointwise, names: Sequence[str], y: Any) -> Contents:
        """What the registers hold, from y; raises `CircuitError` where y is not like y0."""
        if not isinstance(y, dict) or y.keys() != set(names):
            given = f"the names {', '.join(map(str, y))}" if isinstance(y, dict) else repr(y)
            raise CircuitError(
                "y must be a dictionary like y0, of what the registers hold, with the names "
                f"{', '.join(names)}, not {given}"
            )
        found = []
        for name, node in zip(names, pointwise.states, strict=True):
            (out,) = node.outs
            shape, dtype = pointwise.cut.state_shape(out), pointwise.cut.net.avals[out].dtype
            check_held(f"y[{name!r}]", y[name], shape)
            found.append(y[name].astype(dtype))
        return tuple(found)

    def at(self, t: Any, y: Any, args: Any) -> tuple["_Equation", Array, Any]:
        """The equation of the circuit `args`, or else of its own; t and y as arrays."""
        time = as_reals("t", t)
        if time.ndim:
            raise CircuitError(
                f"t must be one time, not an array of shape {time.shape}: map over times by vmap"
            )
        y = jax.tree.map(lambda leaf: as_inexact("y", leaf), y)
        if args is None:
            return self, time, y
        if not isinstance(args, Circuit) or _types(args) != _types(self.circuit):
            raise CircuitError(
                "args must be None or a circuit of the same structure as that of the vector field, "
                f"with numbers of the same shapes, not {args!r:.60}"
            )
        equation = _Equation(
            args, self.sources, self.fixed_point, self.noise, self.orders, self.dim
        )
        return equation, time, y


def _types(circuit: Circuit) -> tuple[Any, ...]:
    """The structure of a circuit and the shapes of its numbers."""
    leaves, structure = jax.tree.flatten(circuit)
    return structure, *map(jnp.shape, leaves)


@default_promotion()
def _start(equation: _Equation) -> dict[str, Array]:
    """What the registers hold at the start, by name."""
    pointwise = equation.pointwise()
    return dict(zip(equation.names(pointwise), pointwise.begin(), strict=True))


@default_promotion()
def _slope(equation: _Equation, t: Array, y: Any) -> dict[str, Array]:
    """What goes into the registers, by name."""
    pointwise = equation.pointwise()
    names = equation.names(pointwise)
    contents = equation.contents(pointwise, names, y)
    feeds = pointwise.feeds(t.astype(pointwise.time_dtype), contents, pointwise.start())
    return dict(zip(names, feeds.values, strict=True))


@default_promotion()
def _read(equation: _Equation, t: Array, y: Any) -> Row:
    """The outputs and named wires."""
    pointwise = equation.pointwise()
    contents = equation.contents(pointwise, equation.names(pointwise), y)
    return pointwise.outputs(t.astype(pointwise.time_dtype), contents, pointwise.start(), {})


def _call_slope(equation: _Equation, t: Any, y: Any, args: Any = None) -> dict[str, Array]:
    return run_compiled(_compiled_slope, _slope, *equation.at(t, y, args))


def _call_read(equation: _Equation, t: Any, y: Any, args: Any = None) -> Row:
    return run_compiled(_compiled_read, _read, *equation.at(t, y, args))


_compiled_start, _compiled_slope, _compiled_read = (
    Jit(without_mesh(run)) for run in (_start, _slope, _read)
)
