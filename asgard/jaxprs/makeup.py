"""Functions compared by what they are made of.

Optimisers are closures, made anew by every `optax.adam(0.01)`, and so is a loss written in place.
JAX keeps a compilation by its functions' identity, and would compile for each again. `Made`
compares functions by their code and by what they read: what they close over, their defaults, and
the globals that they name. So those made alike are one, and one that reads a number that has
changed since is another.
"""

import dataclasses
import dis
import functools
import hashlib
import types
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .concrete import is_concrete

_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")

# Packages whose functions read no globals that change.
_SETTLED = (
    *("asgard", "builtins", "equinox", "jax", "jaxlib", "jaxtyping", "lineax", "math", "numpy"),
    *("optax", "optimistix", "scipy"),
)


class Made:
    """A function, or a tuple of them, that equals another one made of the same.

    `traced` says that it reads a value of a trace that is under way.
    """

    def __init__(self, value: Any):
        self.value = value
        self.makeup = makeup(value)
        self.traced = any(not is_concrete(part.value) for part in _objects(self.makeup))
        self._hash = hash(self.makeup)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and self.makeup == other.makeup

    def __hash__(self) -> int:
        return self._hash

    def fingerprint(self) -> str:
        """The same for the same makeup in another process, where objects have other addresses."""
        return hashlib.sha256(_stable(self.makeup).encode()).hexdigest()


class Compiled:
    """`run(problem, …)` compiled, and kept by the problem and by the other static arguments.

    A problem whose functions read what an outer trace holds is traced there instead: kept, it would
    hold on to that trace.
    """

    def __init__(self, run: Callable[..., Any], *static: int):
        self.run = run
        self.jitted = jax.jit(run, static_argnums=(0, *static))

    def __call__(self, problem: Any, *arguments: Any) -> Any:
        parts = (getattr(problem, field.name) for field in dataclasses.fields(problem))
        traced = any(isinstance(part, Made) and part.traced for part in parts)
        return (self.run if traced else self.jitted)(problem, *arguments)


class _Itself:
    """An object that equals only itself, kept so that no other one takes its place in memory."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def makeup(value: Any, around: tuple[Any, ...] = ()) -> Hashable:
    """What a value is made of; `around` are the functions and objects that hold it."""
    for depth, holder in enumerate(around):
        if value is holder:
            return "around", depth
    if isinstance(value, types.FunctionType):
        return _function(value, (*around, value))
    if isinstance(value, types.MethodType):
        return "method", makeup(value.__func__, around), makeup(value.__self__, around)
    if isinstance(value, functools.partial):
        held = (value.func, value.args, value.keywords)
        return "partial", tuple(makeup(each, around) for each in held)
    if isinstance(value, tuple | list):
        inner = (*around, value)
        return type(value), tuple(makeup(each, inner) for each in value)
    if type(value) is dict:
        inner = (*around, value)
        pairs = tuple((makeup(key, inner), makeup(each, inner)) for key, each in value.items())
        return dict, pairs
    if eqx.is_array(value) or isinstance(value, np.ndarray | np.generic):
        return _array(value)
    if _is_plain(value):
        # With its type, and the sign of zero: 1, 1.0 and True are equal, and 0.0 and -0.0.
        return type(value), repr(value)
    if isinstance(value, eqx.Module):
        return _module(value, (*around, value))
    return _object(value, (*around, value))


def _function(value: types.FunctionType, around: tuple[Any, ...]) -> Hashable:
    held = [value.__defaults__, value.__kwdefaults__, *map(_content, value.__closure__ or ())]
    parts = tuple(makeup(each, around) for each in held)
    if _is_settled(value.__module__):
        return value.__code__, _Itself(value.__globals__), parts
    names = [name for name in _looked_up(value.__code__) if name in value.__globals__]
    read = [(name, _global(value.__globals__[name], around)) for name in names]
    for owner in (value.__globals__[name] for name in names):
        # What a module or a class of the user's holds now, of the names that the code has.
        if isinstance(owner, types.ModuleType | type) and not _is_settled(
            getattr(owner, "__module__", owner.__name__)
        ):
            held = [name for name in _attributes(value.__code__) if name in vars(owner)]
            read += [(name, _global(vars(owner)[name], around)) for name in held]
    return value.__code__, _Itself(value.__globals__), parts, tuple(read)


def _global(value: Any, around: tuple[Any, ...]) -> Hashable:
    """A global by what it is made of; of other modules' functions it is enough which they are."""
    if isinstance(value, types.FunctionType) and value.__globals__ is not around[-1].__globals__:
        return _Itself(value)
    return makeup(value, around)


def _is_settled(module: Any) -> bool:
    return str(module).partition(".")[0] in _SETTLED


@functools.lru_cache(maxsize=4096)
def _looked_up(code: types.CodeType) -> tuple[str, ...]:
    """The names that code, and the code within it, looks up outside of functions."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in _GLOBAL}
    return tuple(sorted(names.union(*map(_looked_up, _within(code)))))


@functools.lru_cache(maxsize=4096)
def _attributes(code: types.CodeType) -> tuple[str, ...]:
    """The names of attributes, and others, that code and the code within it has."""
    return tuple(sorted({*code.co_names}.union(*map(_attributes, _within(code)))))


def _within(code: types.CodeType) -> list[types.CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def _module(value: eqx.Module, around: tuple[Any, ...]) -> Hashable:
    """An equinox module, such as a calculus or a circuit, by its arrays and its structure."""
    leaves, structure = jax.tree.flatten(value)
    try:
        hash(structure)
    except TypeError:  # a static field that has no hash
        return _Itself(value)
    return structure, tuple(makeup(leaf, around) for leaf in leaves)


def _object(value: Any, around: tuple[Any, ...]) -> Hashable:
    """Any other object: itself, with the numbers, arrays and containers that it holds now."""
    if isinstance(value, type | types.ModuleType) or not isinstance(
        held := getattr(value, "__dict__", None), dict
    ):
        return _Itself(value)
    kinds = (np.ndarray, jax.Array, tuple, list, dict)
    plain = {k: each for k, each in held.items() if _is_plain(each) or isinstance(each, kinds)}
    return _Itself(value), tuple((name, makeup(each, around)) for name, each in plain.items())


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | complex | str | bytes)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return None


def _array(value: Any) -> Hashable:
    if not is_concrete(value):
        return _Itself(value)
    kind = str(value.dtype)
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return kind, array.shape, array.tobytes()


def _objects(part: Any) -> Iterator[_Itself]:
    """The objects in a makeup that equal only themselves."""
    if isinstance(part, _Itself):
        yield part
    elif isinstance(part, tuple):
        for each in part:
            yield from _objects(each)


def _stable(part: Any) -> str:
    """A makeup as text that is the same in every process."""
    if isinstance(part, _Itself):
        kind = type(part.value)
        name = getattr(part.value, "__qualname__", "")
        return f"<{kind.__module__}.{kind.__qualname__} {name}>"
    if isinstance(part, types.CodeType):
        constants = _stable(part.co_consts)
        return f"<{part.co_code.hex()} {part.co_names} {part.co_varnames} {constants}>"
    if isinstance(part, frozenset):
        return f"<{sorted(map(repr, part))}>"
    if isinstance(part, tuple):
        return f"({','.join(map(_stable, part))})"
    return repr(part) if isinstance(part, bytes) else str(part)
