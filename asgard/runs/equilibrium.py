"""`equilibrium`: where a circuit rests, and the inputs that hold it there."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from ..calculi.calculus import Calculus
from ..calculi.cut import Cut
from ..calculi.discrete.calculus import Discrete
from ..calculi.meanings import noise
from ..calculi.pointwise import Pointwise, Row
from ..calculi.real.calculus import Real
from ..calculi.steady import MEANINGS, root
from ..calculi.trajectory import Checked, Outputs
from ..circuits.atoms.registers import Delay, Deregister
from ..circuits.circuit import Circuit, as_circuit
from ..circuits.fields import as_inexact, as_reals, precision
from ..circuits.pictured import picture
from ..errors import CircuitError
from ..fixed_points.implicit import Facts
from ..fixed_points.options import FixedPoint, check_fixed_point
from ..jaxprs.compiling import Jit
from ..jaxprs.concrete import run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.settings import default_promotion
from ..status import Status
from ..taylor.net import Piece, Wire
from ..taylor.network import Meanings, register
from .arguments import as_sources, check_dim, given_or
from .local import apart, flat, input_names, plain_inputs
from .points import as_point, states_of
from .registers import Registers, check_held, check_register


class Equilibrium(Outputs, Checked):
    """Where a circuit rests.

    - `state`: what the registers hold, by name.
    - `inputs`: what the input wires carry, those that were solved for among them.
    - `outputs`, `names`: the output wires, and the named ones, which `equilibrium["name"]` reads.
    - `t`: the time at which inputs and the coordinate were read.
    - `status`: `ok`, or `not_converged` where no equilibrium was found. All is NaN then.
    - `stats`: `iterations` and `residual` of the solve.
    """

    state: dict[str, Inexact[Array, "..."]]
    inputs: tuple[Inexact[Array, "..."], ...]
    outputs: tuple[Inexact[Array, "..."], ...]
    names: dict[str, Inexact[Array, "..."]]
    t: Float[Array, ""]
    status: Status
    stats: dict[str, Array]
    loops: tuple[str, ...] = eqx.field(static=True, default=())
    wires: tuple[str, ...] = eqx.field(static=True, default=())
    advice: str = eqx.field(static=True, default="")

    def __repr__(self) -> str:
        return picture("equilibrium.text", self)


def equilibrium(
    circuit: Circuit,
    *,
    inputs: Sequence[Any] = (),
    guess: Any = None,
    outputs: Mapping[str | int, Any] | None = None,
    free: Sequence[str | int] = (),
    held: Sequence[str] = (),
    calculus: Calculus = Real(),  # noqa: B008 - frozen, and holds no array
    fixed_point: FixedPoint = FixedPoint("newton"),  # noqa: B008 - frozen, no array of JAX
    dim: str | None = None,
    t: Any = 0.0,
    throw: bool = True,
) -> Equilibrium:
    """Where a circuit rests: the states, and the free inputs, at which nothing moves.

    Without `free` and `outputs` this is the steady state of `ag.Steady` for constant inputs. With
    them it is a trim: the inputs that hold some outputs at values asked for. All equations are
    solved at once. Derivatives are those of the implicit function theorem, in either mode, and
    `jax.jit` and `jax.vmap` work.

    **Arguments:**

    - `circuit`: any circuit without events.
    - `inputs`: one for each input wire, as for `simulate`; a free one is where its solve starts.
    - `guess`: where the solve starts: states as `at` of `linearize`; the initial contents by
      default. An `Equilibrium` gives its inputs, too, if none are given.
    - `outputs`: values asked for, by the names of wires or registers, or the numbers of outputs.
    - `free`: the inputs that are solved for, by name or number. They have as many numbers as
      `outputs` asks for.
    - `held`: registers, by name, that stay at their guess, and whose rates may be anything: such as
      the distance of a car that keeps its speed.
    - `calculus`: `Real`, where what goes into a register is 0; or `Discrete`, where each sample is
      the one before. Its `fixed_point` is for loops without registers, its `noise` as in runs.
    - `fixed_point`: how the equations are solved: Newton's method by default.
    - `dim`: the dimension that is time, needed where the registers name several.
    - `t`: the time at which inputs and the coordinate are read, and then stay.
    - `throw`: raise `SimulationError` where the status is not ok and known.

    **Returns:** an `Equilibrium`: `state`, `inputs`, `outputs`, `["name"]`, `status`, `stats`.
    `ag.linearize(circuit, at=equilibrium)` goes on from it.

    **Raises:** `CircuitError` or one of its kind for what is wrong beforehand; `SimulationError`
    where no equilibrium was found.

    ```python
    rest = ag.equilibrium(tank, inputs=(1.0,), free=(0,), outputs={"level": 2.0})
    rest.inputs[0]  # the inflow that keeps the level
    ```
    """
    circuit = as_circuit("equilibrium takes", circuit)
    if not isinstance(calculus, Real | Discrete):
        raise CircuitError(
            f"equilibrium: calculus must be Real() or Discrete(), not {calculus!r:.60}"
        )
    check_fixed_point("equilibrium", fixed_point)
    check_dim(dim)
    time = as_reals("t", t)
    if time.ndim:
        raise CircuitError(f"t must be one time, not an array of shape {time.shape}")
    if isinstance(guess, Equilibrium):
        inputs, guess = given_or(inputs, guess.inputs), guess.state
    sources = as_sources(circuit, inputs, time[None])
    time = time.astype(precision((circuit, sources)) or time.dtype)
    asked = _asked(outputs)
    names = tuple(asked), _listed("free", free), _listed("held", held)
    question = _Question(calculus, fixed_point, *names, dim)
    point = as_point("guess", guess)
    arguments = (circuit, question, time, sources, point, list(asked.values()))
    found = run_compiled(_compiled, _equilibrium, *arguments)
    return found.check() if throw else found


class _Question(eqx.Module):
    """What is asked for, but for numbers of the circuit: `asked` names the wires whose values are
    given, `free` the inputs that are solved for, and `held` the registers that are not."""

    calculus: Real | Discrete
    fixed_point: FixedPoint
    asked: tuple[str | int, ...] = eqx.field(static=True)
    free: tuple[str | int, ...] = eqx.field(static=True)
    held: tuple[str, ...] = eqx.field(static=True)
    dim: str | None = eqx.field(static=True)

    @property
    def meanings(self) -> Meanings:
        """What atoms mean where nothing moves."""
        calculus = self.calculus
        name = type(calculus).__name__
        found = {**MEANINGS, **noise(calculus.noise, name, name)}
        if not isinstance(calculus, Discrete):
            return found
        shifts = {Deregister: _same} if calculus.register == "delay" else {}
        return {**found, Delay: register, **shifts}

    def shifts(self, atom: Any) -> bool:
        """Whether a register holds at the next sample what goes into it now."""
        if not isinstance(self.calculus, Discrete):
            return False
        return isinstance(atom, Delay) or self.calculus.register == "delay"


def _same(node: Any) -> Piece:
    return Piece(node.ins, node.outs, fn=lambda x: (x,))


def _listed(owner: str, names: Any) -> tuple[Any, ...]:
    """Names as a tuple; raises `CircuitError` for others."""
    good = isinstance(names, Sequence) and not isinstance(names, str)
    if not good or not all(isinstance(name, str | int) for name in names):
        raise CircuitError(f'{owner} must be a tuple of names, such as ("x",), not {names!r:.60}')
    return tuple(names)


def _asked(outputs: Any) -> dict[str | int, Array]:
    """The values asked for, as arrays by name."""
    if outputs is not None and not isinstance(outputs, Mapping):
        raise CircuitError(
            f'outputs must be values by name, such as {{"level": 2.0}}, not {outputs!r:.60}'
        )
    return {name: as_inexact(f"outputs[{name!r}]", x) for name, x in (outputs or {}).items()}


@default_promotion()
def _equilibrium(
    circuit: Circuit,
    question: _Question,
    t: Array,
    sources: tuple[Any, ...],
    guess: Any,
    values: list[Array],
) -> Equilibrium:
    trim = _Trim(circuit, question, t, sources, guess, values)
    start = trim.start
    facts = Facts(jnp.int32(0), jnp.zeros(()), jnp.array(True))
    found = start
    if start:
        found, facts = root(lambda *x: trim.imbalance(x), (), start, question.fixed_point)
    states, inputs = trim.completed(found)
    row = trim.sample(states, inputs)[1]
    rows = jax.tree.map(lambda x: x[None], row.behind(*facts))
    rows, status, stats = rows.judged(trim.time[None])
    outputs, names = jax.tree.map(lambda x: x[0], (rows.outputs, rows.names))
    good = status == Status.ok
    states, inputs = jax.tree.map(
        lambda x: jnp.where(good, x, jnp.nan).astype(x.dtype), (states, inputs)
    )
    kept = ("iterations", "residual", "loop", "wire")
    return Equilibrium(
        state=dict(zip(trim.names, states, strict=True)),
        inputs=tuple(inputs),
        outputs=outputs,
        names=names,
        t=trim.time,
        status=status,
        stats={name: stats[name] for name in kept},
        loops=("the equilibrium", *trim.cut.loop_names),
        wires=trim.cut.output_names,
    )


class _Trim:
    """The equations of an equilibrium. Their unknowns are the registers that are not held, and then
    the free inputs."""

    def __init__(
        self,
        circuit: Circuit,
        question: _Question,
        t: Array,
        sources: tuple[Any, ...],
        guess: Any,
        values: list[Array],
    ):
        calculus = question.calculus
        orders = calculus.order if isinstance(calculus, Real) else None
        self.question, self.values = question, values
        self.cut = cut = Cut.of(
            circuit,
            t,
            sources,
            question.dim,
            calculus="an equilibrium",
            meanings=question.meanings,
            fixed_point=calculus.fixed_point,
            orders=dict(orders) if isinstance(orders, tuple) else {},
        )
        self.pointwise = pointwise = Pointwise(cut, t.dtype, sampled=True)
        self.time = t.astype(pointwise.time_dtype)
        self.inputs = plain_inputs(pointwise.inputs(self.time, {}))
        registers = Registers.of(circuit, pointwise)
        self.names, self.cells = registers.names, registers.cells
        cut.check_digits(cell.node.outs[0] for cell in self.cells)
        self.guess = states_of("guess", guess, registers)
        for name, value, shape in zip(self.names, self.guess, pointwise.shapes, strict=True):
            check_held(f"guess[{name!r}]", value, shape)
        for name in question.held:
            check_register("held", name, self.names)
        self.moving = [i for i, name in enumerate(self.names) if name not in question.held]
        self.free = _numbers("free", question.free, input_names(circuit, cut))
        self.asked = [self._wire(name) for name in question.asked]
        self._check_counts()

    @property
    def start(self) -> list[Array]:
        """Where the solve of the unknowns starts."""
        return [*(self.guess[i] for i in self.moving), *(self.inputs[i] for i in self.free)]

    def completed(self, unknowns: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """All states and inputs, from the unknowns."""
        states, inputs = list(self.guess), list(self.inputs)
        count = len(self.moving)
        for index, value in zip(self.moving, unknowns[:count], strict=True):
            states[index] = value
        for index, value in zip(self.free, unknowns[count:], strict=True):
            inputs[index] = value
        return states, inputs

    def sample(self, states: Sequence[Array], inputs: Sequence[Array]) -> tuple[Any, Row]:
        """What goes into the registers, and the outputs."""
        given = dict(zip(self.cut.graph.inputs, inputs, strict=True))
        start = self.pointwise.start()
        return self.pointwise.sample(self.time, tuple(states), start, given)

    def imbalance(self, unknowns: Sequence[Array]) -> list[Array]:
        """What is 0 at the equilibrium, of the shapes of the unknowns."""
        states, inputs = self.completed(unknowns)
        feeds, row = self.sample(states, inputs)
        cells = self.cells
        moves = [
            feeds.values[i] - states[i]
            if self.question.shifts(cells[i].node.atom)
            else feeds.values[i]
            for i in self.moving
        ]
        read = {cell.wire: x for cell, x in zip(cells, states, strict=True)}
        read |= dict(zip(self.cut.graph.outputs, row.outputs, strict=True))
        read |= {wire: row.names[name] for name, wire in self.cut.named.items()}
        missed = [read[wire] - x for wire, x in zip(self.asked, self.values, strict=True)]
        return [*moves, *apart(flat(missed), [self.inputs[i] for i in self.free])]

    def _wire(self, name: str | int) -> Wire:
        """The wire of which a value is asked for."""
        outputs = self.cut.graph.outputs
        if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < len(outputs):
            return outputs[name]
        if name in self.cut.named:
            return self.cut.named[name]
        if name in self.names:
            return self.cells[self.names.index(name)].wire
        known = ", ".join(dict.fromkeys([*self.cut.named, *self.names])) or "none"
        raise CircuitError(
            f"outputs asks for {name!r}: names of wires and registers are {known}, and output "
            f"wires are numbered from 0 to {len(outputs) - 1}"
        )

    def _check_counts(self) -> None:
        """Raises `CircuitError` where values asked for do not fit, or are not as many as the
        numbers that are free."""
        for name, wire, value in zip(self.question.asked, self.asked, self.values, strict=True):
            if self.cut.rest[wire]:
                others = ", ".join(self.cut.rest[wire])
                raise CircuitError(f"outputs asks for {name!r}, which is a series over {others}")
            check_held(f"outputs[{name!r}]", value, self.cut.net.avals[wire].shape)
        involved = (*self.values, *(self.cut.net.avals[wire] for wire in self.asked))
        involved += tuple(self.inputs[index] for index in self.free)
        if any(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in involved):
            raise CircuitError("the outputs and the free inputs of a trim are real, not complex")
        asked = sum(x.size for x in self.values)
        free = sum(self.inputs[index].size for index in self.free)
        if asked != free:
            raise CircuitError(
                f"outputs asks for {asked} number{'s'[: asked != 1]}, and the free inputs have "
                f"{free}: an equilibrium takes as many of the one as of the other"
            )


def _numbers(owner: str, given: Sequence[Any], names: Sequence[str]) -> list[int]:
    """The numbers of wires that are given by name or number."""
    found = []
    for name in given:
        if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < len(names):
            found.append(name)
        elif name in names:
            found.append(names.index(name))
        else:
            known = ", ".join(names) or "none"
            raise CircuitError(f"{owner} names {name!r}, which is no input; inputs are {known}")
    if len(set(found)) < len(found):
        raise CircuitError(f"{owner} has an input twice")
    return found


_compiled = Jit(without_mesh(_equilibrium))
