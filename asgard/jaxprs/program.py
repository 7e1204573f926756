"""Programs: a jaxpr as a flat list of equations over numbered values.

Calls (`jit`, checkpoints, JAX's own functions with custom derivatives) are inlined, and equations
that no output needs are dropped. So a program is a plain sequence, and what transforms it reads one
equation at a time. Functions of others under `jax.custom_jvp` stay what they are, so that a program
has their derivatives.
"""

import dataclasses
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, Primitive, jaxpr_as_fun

from ..errors import CircuitError
from .primitives import traits

# Functions of JAX that are not inlined. Their values come from a branch or an approximation, whose
# derivatives are not those of the function. They have series rules of their own, or are refused.
_SIMPLE = {"sinc", "xlogy", "xlog1py"}
_BESSEL = {"_i0", "i0_impl", "_i1", "bessel_jn"}
_SPECIAL = {"_dawsn", "_erfcx", "log_ndtr", "expi", "sici"}
_REFUSED = {"hyp1f1", "hyp2f1", "_owens_t_impl"}
FUNCTIONS = frozenset(_SIMPLE | _BESSEL | _SPECIAL | _REFUSED)
# The effects of equations on references, which a program has none of.
_REFERENCES = {"InternalMutableArrayEffect", "ReadEffect", "WriteEffect", "AccumEffect"}
# The function of JAX whose derivative is not that of its operations, which search.
_ROOT = "_custom_root"


@dataclasses.dataclass(frozen=True)
class Equation:
    """A primitive applied to the values numbered `ins`. Its results are numbered `outs`.

    `function` is the name of the function in `FUNCTIONS` that the primitive calls, if any.
    """

    primitive: Primitive
    params: dict[str, Any]
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    function: str | None = None

    @property
    def name(self) -> str:
        """The name by which tables know it."""
        return self.function or self.primitive.name

    @property
    def key(self) -> tuple[Hashable, ...] | None:
        """Equal for equations that compute the same thing. None if that is not known."""
        key = (self.name, self.ins, tuple(sorted(self.params.items())))
        try:
            hash(key)
        except TypeError:
            return None
        return key

    def renumbered(self, numbers: Mapping[int, int]) -> "Equation":
        """The equation on other values: `numbers` has the new number of each."""
        ins, outs = (tuple(numbers[one] for one in ones) for ones in (self.ins, self.outs))
        return dataclasses.replace(self, ins=ins, outs=outs)

    def bind(self, *values: Any) -> list[Any]:
        """The results of the primitive for these operands."""
        if self.function is not None:
            return jaxpr_as_fun(self.params[traits(self.primitive.name).calls])(*values)
        return self.call(*values)

    def call(self, *values: Any) -> list[Any]:
        """The same, where a function of JAX stays a call, known by its name."""
        bound = self.primitive.get_bind_params(self.params)
        # Functions of custom derivatives come apart from the parameters in some versions of JAX.
        functions, params = bound if isinstance(bound, tuple) else ((), bound)
        result = self.primitive.bind(*functions, *values, **params)
        return list(result) if self.primitive.multiple_results else [result]


# What an equation gives for its operands; None where it stays what it is.
Rule = Callable[[Equation, list[Any]], Sequence[Any] | None]
Rules = Mapping[str, Rule]


@dataclasses.dataclass(frozen=True)
class Program:
    """Equations in order, over numbered values.

    `constants` holds the values that are known before it runs, `avals` the types of all values.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, Any]
    equations: tuple[Equation, ...]
    avals: dict[int, jax.ShapeDtypeStruct]

    def known(self, number: int) -> Any:
        """The numbers of a value that is known while programs are made; None if it is not."""
        value = self.constants.get(number)
        return value if isinstance(value, (int, float, np.ndarray, np.generic)) else None

    def is_zero(self, number: int) -> bool:
        """Whether a value is known to be zero, in all its entries."""
        value = self.known(number)
        return value is not None and bool(np.all(value == 0))

    def without_unused(self) -> "Program":
        """The program without equations that no output needs."""
        return dataclasses.replace(self, equations=_live(self.equations, self.outputs)[0])

    def first_alike(self) -> dict[int, int]:
        """For each value the first one that is computed alike, as far as that is known."""
        numbers = {number: number for number in self.avals}
        first: dict[Hashable, tuple[int, ...]] = {}
        for equation in self.equations:
            key = equation.renumbered(numbers).key
            outs = first.setdefault(equation.outs if key is None else key, equation.outs)
            numbers.update(zip(equation.outs, outs, strict=True))
        return numbers

    def without_repeats(self) -> "Program":
        """The program without equations that compute what earlier ones do."""
        first = self.first_alike()
        kept = tuple(
            equation.renumbered(first)
            for equation in self.equations
            if all(first[number] == number for number in equation.outs)
        )
        outputs = tuple(first[number] for number in self.outputs)
        return dataclasses.replace(self, equations=kept, outputs=outputs)

    def run(self, *inputs: Any) -> list[Any]:
        """The outputs for some inputs."""
        return self.run_by({}, inputs)

    def run_by(self, rules: Rules, inputs: Sequence[Any]) -> list[Any]:
        """The outputs for some inputs, where equations follow rules by their names."""
        values = {**self.constants, **dict(zip(self.inputs, inputs, strict=True))}
        for equation in self.equations:
            operands = [values[number] for number in equation.ins]
            rule = rules.get(equation.name)
            found = None if rule is None else rule(equation, operands)
            found = equation.bind(*operands) if found is None else found
            values.update(zip(equation.outs, found, strict=True))
        return [values[number] for number in self.outputs]


def trace(fn: Callable[..., Any], *avals: jax.ShapeDtypeStruct) -> Program:
    """The program of a function from flat arrays to a flat sequence of arrays."""
    return from_jaxpr(jax.make_jaxpr(fn)(*avals))


def from_jaxpr(closed: ClosedJaxpr, inlined: Collection[str] | None = None) -> Program:
    """The program of a jaxpr, such as a loop's body.

    `inlined` are the primitives whose calls are inlined. By default all that only call are, but not
    functions with derivatives of their own which are not JAX's.
    """
    if inlined is None:
        return _Builder(_has_derivative_of_its_jaxpr).build(closed)
    return _Builder(lambda eqn: eqn.primitive.name in inlined).build(closed)


def computed(closed: ClosedJaxpr) -> Program:
    """The program of a jaxpr whose derivatives have been taken: all calls are inlined."""
    return _Builder(lambda eqn: True).build(closed)


def literal_key(value: Any, aval: Any) -> Hashable | None:
    """Equal for equal numbers of one type. None for an array, or a number that is not known."""
    if aval.shape or isinstance(value, jax.Array):
        return None
    return aval.dtype, np.asarray(value, aval.dtype).tobytes()


def scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """How many constants and how many carries a scan has: its first operands."""
    if "ft_in" in params:  # jax >= 0.11
        constants, carries, _ = params["ft_in"].unpack()
        return len(constants), len(carries)
    return params["num_consts"], params["num_carry"]


def live(jaxpr: Any) -> list[Any]:
    """The equations of a jaxpr that its outputs need."""
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    kept = []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or not needed.isdisjoint(eqn.outvars):
            needed.update(atom for atom in eqn.invars if not isinstance(atom, Literal))
            kept.append(eqn)
    return kept[::-1]


def inner_jaxprs(eqn: Any) -> list[Any]:
    """The jaxprs that an equation of a jaxpr holds: bodies of loops, branches, calls."""
    found = []
    for value in eqn.params.values():
        for one in value if isinstance(value, tuple) else (value,):
            jaxpr = getattr(one, "jaxpr", one)
            if hasattr(jaxpr, "eqns"):
                found.append(jaxpr)
    return found


def all_equations(jaxpr: Any) -> Iterator[Any]:
    """The equations that a jaxpr needs, with those of all jaxprs that it holds."""
    for equation in live(jaxpr):
        yield equation
        for inner in inner_jaxprs(equation):
            yield from all_equations(inner)


class _Builder:
    """Numbers the values of a jaxpr and of all it calls, where `inlines` says so of an equation."""

    def __init__(self, inlines: Callable[[Any], bool]):
        self.inlines = inlines
        self.constants: dict[int, Any] = {}
        self.literals: dict[Hashable, int] = {}
        self.equations: list[Equation] = []
        self.avals: dict[int, jax.ShapeDtypeStruct] = {}

    def build(self, closed: ClosedJaxpr) -> Program:
        inputs = [self.new(var.aval) for var in closed.jaxpr.invars]
        outputs = self.inline(closed.jaxpr, closed.consts, inputs)
        equations, needed = _live(self.equations, outputs)
        return Program(
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            constants={number: c for number, c in self.constants.items() if number in needed},
            equations=equations,
            avals=self.avals,
        )

    def new(self, aval: Any) -> int:
        number = len(self.avals)
        self.avals[number] = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        return number

    def constant(self, value: Any, aval: Any) -> int:
        number = self.new(aval)
        self.constants[number] = value
        return number

    def literal(self, atom: Literal) -> int:
        key = literal_key(atom.val, atom.aval)
        if key is None:
            return self.constant(atom.val, atom.aval)
        if key not in self.literals:
            self.literals[key] = self.constant(atom.val, atom.aval)
        return self.literals[key]

    def inline(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[int]) -> list[int]:
        numbers: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            numbers[var] = self.constant(value, var.aval)

        def read(atom: Any) -> int:
            if isinstance(atom, Literal):
                return self.literal(atom)
            return numbers[atom]

        for eqn in jaxpr.eqns:
            _refuse(eqn)
            ins = [read(atom) for atom in eqn.invars]
            body = None
            if self.inlines(eqn):
                body, ins = _called(eqn, ins)
            function = _function(body)
            if body is None or function is not None:
                outs = [self.new(var.aval) for var in eqn.outvars]
                equation = Equation(eqn.primitive, eqn.params, tuple(ins), tuple(outs), function)
                self.equations.append(equation)
            else:
                inner, constants = (
                    (body.jaxpr, body.consts) if isinstance(body, ClosedJaxpr) else (body, ())
                )
                outs = self.inline(inner, constants, ins)
            numbers.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def _refuse(eqn: Any) -> None:
    """Raises for an equation that no program can have, in the terms of who wrote the function."""
    name = eqn.primitive.name
    if name == "pvary":
        raise CircuitError(
            "a function closes over an array that varies over the mesh of jax.shard_map; hand the "
            "array over as an input (fn, args), or as a field of an atom"
        )
    if not _REFERENCES.isdisjoint(type(effect).__name__ for effect in eqn.effects):
        raise CircuitError(
            "a function reads or writes a reference of JAX (jax.new_ref), and what it writes would "
            "be lost here; make new arrays, as x.at[index].set(value) does"
        )
    if eqn.effects and (not eqn.outvars or "callback" in name):
        raise CircuitError(
            f"the JAX primitive '{name}', as of jax.debug.print, jax.debug.callback or "
            "jax.debug.breakpoint, does not work inside of a Taylor series or a loop without "
            "registers. Python's print and debuggers work in runs under jax.disable_jit(), but not "
            "in such loops, nor under Steady: these are always traced"
        )


def _called(eqn: Any, ins: list[int]) -> tuple[Any, list[int]]:
    """The jaxpr that an equation only calls, if it does, and what it is called on."""
    if eqn.primitive.name == "cond":
        # Branches by platform compute the same thing; the one for any platform is read.
        platforms = eqn.params.get("branches_platforms") or ()
        if None in platforms:
            return eqn.params["branches"][platforms.index(None)], ins[1:]
    return eqn.params.get(traits(eqn.primitive.name).calls), ins


def _function(body: Any) -> str | None:
    """Which of `FUNCTIONS` a jaxpr is, by where JAX says that it comes from."""
    name, is_of_jax = _origin(body)
    return name if is_of_jax and name in FUNCTIONS else None


def _origin(body: Any) -> tuple[str, bool]:
    """The name of the function that a jaxpr comes from, and whether it is one of JAX's own."""
    info = getattr(getattr(body, "jaxpr", None), "debug_info", None)
    name, _, source = str(getattr(info, "func_src_info", "")).partition(" at ")
    return name, "/jax/_src/" in source.replace("\\", "/")


def _has_derivative_of_its_jaxpr(eqn: Any) -> bool:
    """Whether an equation has the derivative of the jaxpr that it calls, if it calls one."""
    if eqn.primitive.name != "custom_jvp_call":
        return True
    name, is_of_jax = _origin(eqn.params["call_jaxpr"])
    return is_of_jax and name != _ROOT


def _live(
    equations: Sequence[Equation], outputs: Sequence[int]
) -> tuple[tuple[Equation, ...], set[int]]:
    needed = set(outputs)
    kept = []
    for equation in reversed(equations):
        if needed.intersection(equation.outs):
            needed.update(equation.ins)
            kept.append(equation)
    return tuple(reversed(kept)), needed
