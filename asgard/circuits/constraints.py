"""Constraints: numbers of a circuit that keep a bound while they are fitted.

A constraint replaces a number in an array field of an atom or block. It holds the number as its
only array. A fit maps the number one to one to a free value, and moves that. A run replaces
constraints by plain arrays (`resolved`).
"""

import abc
from typing import TYPE_CHECKING, Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete
from .fields import NOT_NUMBERS, as_array, as_number, number_text

Tree = TypeVar("Tree")


class Constraint(eqx.Module):
    """A number, or an array of numbers, with a bound. One of your own is a subclass.

    It has the number as its field `value`, and three functions; other fields are static.

    ```python
    class Below(ag.Constraint):
        value: jax.Array
        top: float = eqx.field(static=True)

        def check(self):
            self.refuse_unless(self.value < self.top, f"below {self.top}")

        def free(self):
            return jnp.log(self.top - self.value)

        def at(self, free):
            return Below(self.top - jnp.exp(free), self.top)
    ```
    """

    value: eqx.AbstractVar[Array]

    def __check_init__(self):
        owner = type(self).__name__
        # The instance is already frozen when invariants are checked.
        object.__setattr__(self, "value", as_array(owner, self.value))
        self.check()

    @abc.abstractmethod
    def check(self) -> None:
        """Raises `CircuitError` if the number is known and out of its bound."""

    @abc.abstractmethod
    def free(self) -> Array:
        """The number as a value without a bound."""

    @abc.abstractmethod
    def at(self, free: Array) -> "Constraint":
        """The constraint at another free value."""

    def resolve(self) -> Array:
        """The number that a run reads."""
        return self.value

    def refuse_unless(self, holds: Any, bound: str) -> None:
        """Raises `CircuitError` where the number is known and `holds` is not true of all of it.

        `bound` says what it must be.
        """
        if jnp.iscomplexobj(self.value):
            raise CircuitError(f"{type(self).__name__}: the number must be real, not complex")
        if is_concrete(holds) and not np.all(holds):
            shown = number_text(self.value) if self.value.ndim == 0 else np.asarray(self.value)
            raise CircuitError(f"{type(self).__name__}: the number must be {bound}, not {shown}")


class Positive(Constraint):
    """A number above 0. A fit moves its logarithm.

    **Raises:** `CircuitError` for a number that is not above 0.

    ```python
    ag.Scalar(ag.Positive(0.5))
    ```
    """

    value: Inexact[Array, "..."] = eqx.field(converter=as_number)

    def check(self) -> None:
        self.refuse_unless((self.value > 0) & jnp.isfinite(self.value), "above 0 and finite")

    def free(self) -> Array:
        return jnp.log(self.value)

    def at(self, free: Array) -> "Positive":
        # Not 0, or what a fit found could not be where another one starts.
        return Positive(jnp.maximum(jnp.exp(free), jnp.finfo(free.dtype).tiny))

    def __repr__(self) -> str:
        return f"Positive({number_text(self.value)})"


class Bounded(Constraint):
    """A number between two others. A fit moves log((value - low) / (high - value)).

    **Raises:** `CircuitError` for a number that is not between `low` and `high`, and for bounds
    that are not finite or not in order.

    ```python
    ag.Register("t", ag.Bounded(0.2, -1.0, 1.0))
    ```
    """

    value: Inexact[Array, "..."]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    def __init__(self, value: Any, low: float | int, high: float | int):
        self.value = as_number(value)
        try:
            self.low, self.high = float(low), float(high)
        except NOT_NUMBERS as error:
            raise CircuitError("Bounded: low and high must be numbers, the same for all") from error
        if not (self.low < self.high and np.isfinite([self.low, self.high]).all()):
            raise CircuitError(
                f"Bounded: low must be below high and both finite, not {low!r} and {high!r}; for a "
                "bound on one side use Positive"
            )

    def check(self) -> None:
        inside = (self.value > self.low) & (self.value < self.high)
        self.refuse_unless(inside, f"between {self.low} and {self.high}")

    def free(self) -> Array:
        return jnp.log(self.value - self.low) - jnp.log(self.high - self.value)

    def at(self, free: Array) -> "Bounded":
        value = self.low + (self.high - self.low) * jax.nn.sigmoid(free)
        # Not the bounds themselves, or what a fit found could not be where another one starts.
        low, high = (jnp.asarray(bound, free.dtype) for bound in (self.low, self.high))
        # Beside 0 is the least normal number, since some backends take those below for 0.
        tiny = jnp.finfo(free.dtype).tiny
        least = jnp.maximum(jnp.nextafter(low, high), low + tiny)
        most = jnp.minimum(jnp.nextafter(high, low), high - tiny)
        return Bounded(jnp.clip(value, least, most), self.low, self.high)

    def __repr__(self) -> str:
        return f"Bounded({number_text(self.value)}, {self.low}, {self.high})"


class Fixed(Constraint):
    """A number that fits do not move. Its derivatives are zero.

    ```python
    ag.Register("t", ag.Fixed(1.0))
    ```
    """

    value: Inexact[Array, "..."] = eqx.field(converter=as_number)

    def check(self) -> None:
        """Every number is allowed."""

    def free(self) -> Array:
        return self.value

    def at(self, free: Array) -> "Fixed":
        return Fixed(free)

    def resolve(self) -> Array:
        return jax.lax.stop_gradient(self.value)

    def __repr__(self) -> str:
        return f"Fixed({number_text(self.value)})"


if TYPE_CHECKING:
    # Atoms are resolved before anything reads their numbers.
    Number = Array
else:
    Number = Inexact[Array, "..."] | Constraint


def is_constraint(node: Any) -> bool:
    """Whether a node of a pytree is a constraint."""
    return isinstance(node, Constraint)


def constraints(tree: Any) -> list[Constraint]:
    """The constraints in a pytree."""
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=is_constraint) if is_constraint(leaf)]


def resolved(tree: Tree) -> Tree:
    """A pytree with its constraints replaced by plain arrays."""
    if not constraints(tree):
        return tree
    return jax.tree.map(
        lambda leaf: leaf.resolve() if is_constraint(leaf) else leaf, tree, is_leaf=is_constraint
    )
