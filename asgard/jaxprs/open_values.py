"""Values that a function reads before they are known: a trace begins with them, and computes them.

`opened` is such a value: an array of JAX like any other under a trace, made by a primitive that
reads nothing. `Properties` gives it an attribute that users assign to.

**Undocumented.** Classes of traced values have no room for attributes, so an opened value is moved
to a subclass of its class with a property: `value.__class__ = subclass`. JAX must take an instance
of a subclass for what it is. And a value has its trace as `_trace`, by which one of a trace that is
over is known. `tests/jaxprs/test_open_values.py` calls much of JAX on an opened value.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import jax
from jax.core import ShapedArray, Tracer
from jax.extend.core import Primitive, get_opaque_trace_state

open_p = Primitive("asgard_open")
open_p.def_abstract_eval(lambda *, number, shape, dtype: ShapedArray(shape, dtype))


def opened(number: int, type: jax.ShapeDtypeStruct) -> Any:
    """A value of a type, known to the program that is traced by its number."""
    return open_p.bind(number=number, shape=type.shape, dtype=type.dtype)


_over: "WeakSet[Any]" = WeakSet()


def end(values: Any) -> None:
    """Notes that the traces of some values, a pytree, are over."""
    for value in jax.tree.leaves(values):
        if isinstance(value, Tracer):
            _over.add(value._trace)


def is_over(value: Any) -> bool:
    """Whether a value is of a trace of which `end` has noted that it is over."""
    return isinstance(value, Tracer) and value._trace in _over


def trace_state() -> Any:
    """Equal to that of another moment if the same trace goes on: no loop or branch in it."""
    return get_opaque_trace_state()


class Properties:
    """Moves traced values to a subclass with one property, which is `name`.

    **Arguments:** `read(value)` and `write(value, assigned)` are what the property does.
    """

    def __init__(self, name: str, read: Callable[[Any], Any], write: Callable[[Any, Any], None]):
        self._members = {"__slots__": (), name: property(read, write)}
        self._classes: dict[type, type] = {}

    def give(self, value: Any) -> None:
        """Gives a traced value the property."""
        plain = type(value)
        if plain not in self._classes:
            self._classes[plain] = type(plain.__name__, (plain,), self._members)
        value.__class__ = self._classes[plain]
