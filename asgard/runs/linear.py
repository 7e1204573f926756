"""`linearize` and `frequency_response`: a circuit near a point, as matrices."""

from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Inexact

from ..calculi.calculus import Calculus
from ..calculi.discrete.calculus import Discrete
from ..calculi.real.calculus import Real
from ..calculi.trajectory import Checked
from ..circuits.circuit import Circuit, as_circuit
from ..circuits.fields import as_reals, precision
from ..errors import CircuitError
from ..jaxprs.compiling import Jit
from ..jaxprs.concrete import is_concrete, run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.settings import default_promotion
from ..status import Status
from .arguments import as_sources, check_dim, given_or
from .equilibrium import Equilibrium
from .local import Local, apart, entry_names, flat, input_names, local, output_names
from .points import as_point, states_of, time_of


class OperatingPoint(eqx.Module):
    """Where a circuit was made linear: the time, the states by name, the inputs and the outputs;
    `moves` are the rates of the states there, or the states at the next sample."""

    t: Float[Array, "*times"]
    state: dict[str, Inexact[Array, "..."]]
    inputs: tuple[Inexact[Array, "..."], ...]
    outputs: tuple[Inexact[Array, "..."], ...]
    moves: dict[str, Inexact[Array, "..."]]


class Linearization(Checked):
    """A circuit near a point: x' = A x + B u and y = C x + D u, for deviations x, u, y from it.

    For a sequence it is x[n + 1] = A x[n] + B u[n]. It unpacks as `A, B, C, D`. Along a trajectory
    each has an axis of times in front.

    - `states`, `inputs`, `outputs`: a name for each row and column.
    - `point`: where it was made: `t`, `state` by name, `inputs`, `outputs`, and `moves`, the
      states' rates there or what they are at the next sample.
    - `discrete`: whether it is one of sequences.
    - `status`: `ok`; `not_converged` where a loop without registers has no solution, `nonfinite`
      where a value or a derivative is not finite. The matrices are NaN there.
    """

    A: Float[Array, "*times states states"]
    B: Float[Array, "*times states inputs"]
    C: Float[Array, "*times outputs states"]
    D: Float[Array, "*times outputs inputs"]
    point: OperatingPoint
    status: Status
    stats: dict[str, Array]
    states: tuple[str, ...] = eqx.field(static=True)
    inputs: tuple[str, ...] = eqx.field(static=True)
    outputs: tuple[str, ...] = eqx.field(static=True)
    discrete: bool = eqx.field(static=True)
    loops: tuple[str, ...] = eqx.field(static=True, default=())
    wires: tuple[str, ...] = eqx.field(static=True, default=())
    advice: str = eqx.field(static=True, default="")

    def __iter__(self) -> Iterator[Array]:
        return iter((self.A, self.B, self.C, self.D))


def linearize(
    circuit: Circuit,
    at: Any = None,
    *,
    inputs: Sequence[Any] = (),
    calculus: Calculus = Real(),  # noqa: B008 - frozen, and holds no array
    dim: str | None = None,
    t: Any = None,
    throw: bool = True,
) -> Linearization:
    """The linear system that a circuit is near a point, exactly: by `jax.jacfwd`.

    The states are what the registers hold. A loop that no register cuts goes in by the derivative
    of its solution. `jax.jit`, `jax.grad` and `jax.vmap` work on all of it.

    **Arguments:**

    - `circuit`: any circuit that runs under `Real` or `Discrete`.
    - `at`: the states of the point.
        - None: the initial contents.
        - A dictionary by the names of registers, as `vector_field` has them; those not named are at
          their initial contents. With an axis of times in front, it is a point for each time.
        - The `state` of a trajectory: where that run ended.
        - A trajectory: a point for each of its times. The circuit must show its registers' wires.
        - An `Equilibrium`, whose inputs are taken, too, if none are given.
    - `inputs`: one for each input wire, as for `simulate`; what they are at `t` is the point.
    - `calculus`: `Real`, for rates, or `Discrete`, for the next sample.
    - `dim`: the dimension that is time, needed where the registers name several.
    - `t`: the time of the point, or times `[times]`; by default that of `at`, else 0.
    - `throw`: raise `SimulationError` where the status is not ok and known.

    Rows and columns are in the order of registers, input wires and output wires in the circuit. A
    wire that carries an array has one for each entry, with the last axis fastest.

    An atom with events is linear between them: its content is a state, which follows its rate.
    Functions with a kink have the derivative that JAX gives them there.

    **Returns:** a `Linearization`, which unpacks as `A, B, C, D`.

    **Raises:** `CircuitError` or one of its kind for what `simulate` refuses, for delays by a time,
    derivatives of inputs, complex wires, and points that are not of this circuit.

    ```python
    A, B, C, D = ag.linearize(pendulum, {"angle": jnp.pi}, inputs=(0.0,))
    ```
    """
    circuit = as_circuit("linearize takes", circuit)
    _check("linearize", calculus)
    check_dim(dim)
    if isinstance(at, Equilibrium):
        inputs = given_or(inputs, at.inputs)
        t, at = at.t if t is None else t, at.state
    point = as_point("at", at)
    time = as_reals("t", time_of(point) if t is None else t)
    if time.ndim > 1:
        raise CircuitError(f"t must be a time or times [times], not of shape {time.shape}")
    sources = as_sources(circuit, inputs, jnp.atleast_1d(time))
    _check_samples(calculus, time)
    time = time.astype(precision((circuit, sources)) or time.dtype)
    arguments = (circuit, calculus, time, sources, point, dim)
    found = run_compiled(_compiled, _linearize, *arguments)
    return found.check() if throw else found


def frequency_response(
    circuit: Circuit,
    w: Any,
    *,
    at: Any = None,
    inputs: Sequence[Any] = (),
    calculus: Calculus = Real(),  # noqa: B008 - frozen, and holds no array
    dim: str | None = None,
    t: Any = None,
    throw: bool = True,
) -> Complex[Array, "..."]:
    """How a circuit near a point answers to waves: C (iω - A)⁻¹ B + D.

    An input that oscillates as exp(iωt) about the point makes the outputs oscillate as this times
    exp(iωt), once what the start left has died out. Under `Discrete` ω stands in exp(iωn), and iω
    above is exp(iω). Each frequency takes one linear solve.

    **Arguments:** `w`: angular frequencies, in radians per unit of time, or per sample under
    `Discrete`, of any shape. The others are those of `linearize`.

    **Returns:** `[*w, outputs, inputs]`, complex; along a trajectory `[times, *w, outputs,
    inputs]`. It is not finite where iω is an eigenvalue of A.

    **Raises:** as `linearize`, and `CircuitError` for frequencies that are no real numbers.

    ```python
    ag.frequency_response(circuit, jnp.logspace(-2, 2, 200), inputs=(0.0,))[:, 0, 0]
    ```
    """
    circuit = as_circuit("frequency_response takes", circuit)
    _check("frequency_response", calculus)
    frequencies = as_reals("w", w)
    found = linearize(circuit, at, inputs=inputs, calculus=calculus, dim=dim, t=t, throw=throw)
    return response(found, frequencies)


def _check(owner: str, calculus: Any) -> None:
    """Raises `CircuitError` for other calculi."""
    if not isinstance(calculus, Real | Discrete):
        raise CircuitError(f"{owner}: calculus must be Real() or Discrete(), not {calculus!r:.60}")


def _check_samples(calculus: Calculus, time: Array) -> None:
    """Raises `CircuitError` for times under `Discrete` that are no numbers of samples."""
    if isinstance(calculus, Discrete) and is_concrete(time) and jnp.any(time != jnp.round(time)):
        raise CircuitError(f"Discrete: t must be the number of a sample, not {time}")


@default_promotion()
def _linearize(
    circuit: Circuit,
    calculus: Calculus,
    t: Array,
    sources: tuple[Any, ...],
    point: Any,
    dim: str | None,
) -> Linearization:
    first = local(circuit, calculus, t.reshape(-1)[0], sources, dim)
    begin = first.registers.begin
    states = states_of("at", point, first.registers)
    axes = [0 if x.ndim > like.ndim else None for x, like in zip(states, begin, strict=True)]
    counts = {x.shape[0] for x, axis in zip(states, axes, strict=True) if axis == 0}
    counts |= {t.shape[0]} if t.ndim else set()
    if not counts:
        return _about(circuit, calculus, first, states)
    if len(counts) > 1:
        listed = ", ".join(map(str, sorted(counts)))
        raise CircuitError(f"at and t are of different numbers of times: {listed}")

    def one(t: Array, states: list[Array]) -> Linearization:
        return _about(circuit, calculus, local(circuit, calculus, t, sources, dim), states)

    return jax.vmap(one, in_axes=(0 if t.ndim else None, axes))(t, states)


def _about(
    circuit: Circuit, calculus: Calculus, found: Local, states: list[Array]
) -> Linearization:
    """The linear system about some states."""
    inputs, count = found.inputs, sum(x.size for x in states)

    def moved(numbers: Array) -> Any:
        moves, row = found.move(apart(numbers[:count], states), apart(numbers[count:], inputs))
        return flat([*moves, *row.outputs]), (moves, row)

    numbers = flat([*states, *inputs])
    slopes, (moves, row) = jax.jacfwd(moved, has_aux=True)(numbers)
    status, stats, good = _judged(found, row, [slopes, *moves])
    slopes = jnp.where(good, slopes, jnp.nan)
    cut, names = found.cut, found.registers.names
    return Linearization(
        A=slopes[:count, :count],
        B=slopes[:count, count:],
        C=slopes[count:, :count],
        D=slopes[count:, count:],
        point=OperatingPoint(
            t=found.time,
            state=dict(zip(names, states, strict=True)),
            inputs=inputs,
            outputs=row.outputs,
            moves=dict(zip(names, moves, strict=True)),
        ),
        status=status,
        stats=stats,
        states=entry_names(names, [x.shape for x in states]),
        inputs=entry_names(input_names(circuit, cut), [x.shape for x in inputs]),
        outputs=entry_names(output_names(cut), [x.shape for x in row.outputs]),
        discrete=isinstance(calculus, Discrete),
        loops=cut.loop_names,
        wires=cut.output_names,
    )


def _judged(found: Local, row: Any, values: list[Array]) -> tuple[Status, dict[str, Array], Array]:
    """The status and the stats of a point, and whether it is good."""
    rows = jax.tree.map(lambda x: x[None], row)
    _, status, stats = rows.judged(found.time[None])
    shown = status == Status.nonfinite
    finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in values]).all()
    status = Status.where((status == Status.ok) & ~finite, Status.nonfinite, status)
    # Where no wire that is shown is at fault, none is named.
    wire = jnp.where(shown, stats["wire"], len(found.cut.output_names))
    kept = {name: stats[name] for name in ("iterations", "residual", "loop") if name in stats}
    return status, {**kept, "wire": wire}, status == Status.ok


@default_promotion()
def _response(system: Linearization, w: Array) -> Array:
    A, B, C, D = system
    if w.ndim:
        A, B, C, D = (jnp.expand_dims(x, range(-2 - w.ndim, -2)) for x in (A, B, C, D))
    s = jnp.exp(1j * w) if system.discrete else 1j * w
    s = s[..., None, None].astype(jnp.result_type(A.dtype, jnp.complex64))
    states = jnp.linalg.solve(s * jnp.eye(A.shape[-1], dtype=A.dtype) - A, B.astype(s.dtype))
    return C @ states + D


_compiled = Jit(without_mesh(_linearize), static_argnums=5)
# The response of a `Linearization` at frequencies, `[*w, outputs, inputs]`.
response = Jit(without_mesh(_response))
