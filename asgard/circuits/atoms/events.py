"""State atoms whose content jumps at events, and generators that switch in time.

A hybrid system has a flow, guards and jumps (Goebel, Sanfelice and Teel, *Hybrid Dynamical
Systems*, 2012). Here each state atom has its own: between events its content follows `rate`, and
where its `guard` passes zero upward, the content becomes `jump`.
"""

import abc
from typing import TYPE_CHECKING, Any, ClassVar, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ..circuit import Atom
from ..constraints import Constraint, Number
from ..fields import as_number, as_reals, check_name, number_text
from .registers import State


class Hybrid(State):
    """A state atom that jumps at events. Subclass it and write its `guard` and its `jump` in jnp.

    Its inputs are real. An event happens where the guard passes from zero or below to above zero,
    in the direction of the run. All three functions take the content and one value for each input
    wire, and return an array that broadcasts to the content's shape. What happens at one event
    reads the values just before it.

    Under `Real`, events are located to the last digit of time. Under `Stochastic` they happen at
    the end of the step in which the guard changes sign. Under `Discrete` they happen at samples,
    and the content after one shows at the next sample, as a register's does.

    ```python
    class Spike(ag.Hybrid):  # a leaky neuron that starts again from 0 at its threshold
        dim: str = eqx.field(static=True, default="t")
        initial: jax.Array = 0.0
        n_in = 1

        def rate(self, content, current):
            return current - content

        def guard(self, content, current):
            return content - 1.0

        def jump(self, content, current):
            return 0.0 * content
    ```
    """

    delay = 1
    # Whether a guard that is above zero at the start of a run is an event there.
    at_start: ClassVar[bool] = False

    if not TYPE_CHECKING:  # a rule takes as many values as its atom has inputs
        initial: eqx.AbstractVar[Any]

        def rate(self, content: Any, *inputs: Any) -> Any:
            """The derivative of the content between events."""
            return jnp.zeros_like(content)

        @abc.abstractmethod
        def guard(self, content: Any, *inputs: Any) -> Any:
            """What passes zero upward at an event."""

        @abc.abstractmethod
        def jump(self, content: Any, *inputs: Any) -> Any:
            """The content after an event."""

    else:  # type checkers take annotations for fields of the dataclass
        initial = rate = guard = jump = cast(Any, None)


class Reset(Hybrid):
    """An integrator with reset. Its inputs are a rate, a trigger and a value.

    Where the trigger passes zero upward, the content becomes the value read just before.
    """

    dim: str = eqx.field(static=True)
    initial: Number = eqx.field(converter=as_number, default=0.0)
    n_in = 3

    def rate(self, content: Any, rate: Any, trigger: Any, value: Any) -> Any:
        del content, trigger, value
        return rate

    def guard(self, content: Any, rate: Any, trigger: Any, value: Any) -> Any:
        del content, rate, value
        return trigger

    def jump(self, content: Any, rate: Any, trigger: Any, value: Any) -> Any:
        del content, rate, trigger
        return value

    def text(self) -> str:
        return f"reset({self.dim}, {number_text(self.initial)})"


class SampleHold(Hybrid):
    """Holds its first input at each upward crossing of zero by its second; `initial` before."""

    initial: Number = eqx.field(converter=as_number, default=0.0)
    dim: str = eqx.field(static=True, default="t")
    n_in = 2

    def rate(self, content: Any, value: Any, trigger: Any) -> Any:
        del content, trigger
        return jnp.zeros_like(value)

    def guard(self, content: Any, value: Any, trigger: Any) -> Any:
        del content, value
        return trigger

    def jump(self, content: Any, value: Any, trigger: Any) -> Any:
        del content, trigger
        return value

    def text(self) -> str:
        return f"sample_hold({number_text(self.initial)}, {self.dim})"


class Counter(Hybrid):
    """How often its input has passed zero upward, from `initial` on."""

    initial: Number = eqx.field(converter=as_number, default=0.0)
    dim: str = eqx.field(static=True, default="t")
    n_in = 1

    def rate(self, content: Any, trigger: Any) -> Any:
        del content
        return jnp.zeros_like(trigger)

    def guard(self, content: Any, trigger: Any) -> Any:
        del content
        return trigger

    def jump(self, content: Any, trigger: Any) -> Any:
        del trigger
        return content + 1

    def text(self) -> str:
        return f"counter({number_text(self.initial)}, {self.dim})"


class Relay(Hybrid):
    """A switch with hysteresis: `on` from where its input rises past `high` until it falls below
    `low`, else `off`.

    It starts `off`, unless the input is past `high` then.
    """

    low: Number = eqx.field(converter=as_number)
    high: Number = eqx.field(converter=as_number)
    off: Number = eqx.field(converter=as_number, default=0.0)
    on: Number = eqx.field(converter=as_number, default=1.0)
    dim: str = eqx.field(static=True, default="t")
    n_in = 1
    at_start = True

    def __check_init__(self):
        low, high = (_real("Relay", name, getattr(self, name)) for name in ("low", "high"))
        for name in ("off", "on"):
            _real("Relay", name, getattr(self, name))
        try:
            np.broadcast_shapes(np.shape(low), np.shape(high))
        except ValueError as error:
            raise CircuitError(
                f"Relay: low has the shape {np.shape(low)}, which does not fit that of high, "
                f"{np.shape(high)}"
            ) from error
        if is_concrete(low, high) and not np.all(np.asarray(low) <= np.asarray(high)):
            raise CircuitError(f"Relay: low must not be above high, but {low} > {high}")

    @property
    def initial(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.off

    def rate(self, content: Any, value: Any) -> Any:
        del content
        return jnp.zeros_like(value)

    def guard(self, content: Any, value: Any) -> Any:
        return jnp.where(self._is_on(content), self.low - value, value - self.high)

    def jump(self, content: Any, value: Any) -> Any:
        del value
        return jnp.where(self._is_on(content), self.off, self.on)

    def _is_on(self, content: Any) -> Any:
        return jnp.abs(content - self.on) < jnp.abs(content - self.off)

    def text(self) -> str:
        numbers = (self.low, self.high, self.off, self.on)
        return f"relay({', '.join(map(number_text, numbers))}, {self.dim})"


class Pulse(Atom):
    """1 for a part `duty` of each `period`, from `phase` on, else 0. `Real` misses none.

    **Arguments:** `period`: in units of time, above 0; `duty`: from 0 to 1; `phase`: a time at
    which a pulse begins.
    """

    period: Number = eqx.field(converter=as_number)
    duty: Number = eqx.field(converter=as_number, default=0.5)
    phase: Number = eqx.field(converter=as_number, default=0.0)
    dim: str = eqx.field(static=True, default="t")
    n_in = 0
    n_out = 1

    def __check_init__(self):
        check_name("Pulse", "dimension", self.dim)
        _check_period("Pulse", self.period, self.phase)
        duty = _real("Pulse", "duty", self.duty)
        if is_concrete(duty) and not np.all((np.asarray(duty) >= 0) & (np.asarray(duty) <= 1)):
            raise CircuitError(f"Pulse: duty must be from 0 to 1, not {duty}")

    @property
    def coordinates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.dim,)

    def __call__(self, *coordinates: Any) -> Any:
        (time,) = coordinates
        return _pulse(time, self.period, self.duty, self.phase)

    def at_sample(self, number: Any) -> Any:
        """The value at a sample of a sequence, which `number` counts exactly."""
        return _sampled_pulse(number, self.period, self.duty, self.phase)

    def text(self) -> str:
        numbers = (self.period, self.duty, self.phase)
        return f"pulse({', '.join(map(number_text, numbers))}, {self.dim})"


class Clock(Atom):
    """A trigger: it passes zero upward at `phase` and every `period` before and after it.

    It is 1 for half a period, and then 0. **Arguments:** as those of `Pulse`.
    """

    period: Number = eqx.field(converter=as_number)
    phase: Number = eqx.field(converter=as_number, default=0.0)
    dim: str = eqx.field(static=True, default="t")
    n_in = 0
    n_out = 1

    def __check_init__(self):
        check_name("Clock", "dimension", self.dim)
        _check_period("Clock", self.period, self.phase)

    @property
    def coordinates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.dim,)

    def __call__(self, *coordinates: Any) -> Any:
        (time,) = coordinates
        return _pulse(time, self.period, 0.5, self.phase)

    def at_sample(self, number: Any) -> Any:
        """The value at a sample of a sequence, which `number` counts exactly."""
        return _sampled_pulse(number, self.period, 0.5, self.phase)

    def text(self) -> str:
        return f"clock({number_text(self.period)}, {number_text(self.phase)}, {self.dim})"


def _pulse(time: Any, period: Any, duty: Any, phase: Any) -> Any:
    """1 in the first part of each period, else 0.

    Rounding may put turn k a digit past `phase + k * period`, as users compute it. So pulses but
    that at the phase itself begin a few digits early.
    """
    turns = (time - phase) / period
    early = 12 * jnp.finfo(jnp.result_type(turns, float)).eps
    turns += early * (jnp.sqrt(1 + turns * turns) - 1)
    return jnp.where(turns - jnp.floor(turns) < duty, 1.0, 0.0)


def _sampled_pulse(number: Any, period: Any, duty: Any, phase: Any) -> Any:
    """As `_pulse`, by remainders of whole numbers, which are exact: a few digits of a large number
    are many samples. Early by what rounding the period makes of it. NaN where the number is."""
    eps = jnp.finfo(jnp.result_type(number, float)).eps
    early = jnp.minimum(0.6 * eps * jnp.abs(number), 0.25) + 4 * eps * period
    # Not by jnp.mod, whose call takes as long as all else. The quotient may round up.
    at = number - jnp.floor(number / period) * period
    at = jnp.where(at < 0, at + period, at) - jnp.mod(phase, period)
    at = jnp.where(at < 0, at + period, at)
    at = jnp.where(at >= period - early, 0, at + early)
    return jnp.where(jnp.isnan(number), number, jnp.where(at < duty * period, 1.0, 0.0))


def _check_period(owner: str, period: Any, phase: Any) -> None:
    """Raises where a period is known and not above 0, or a phase and not finite."""
    known = _real(owner, "period", period)
    if is_concrete(known) and not np.all((np.asarray(known) > 0) & np.isfinite(known)):
        raise CircuitError(f"{owner}: period must be above 0 and finite, not {known}")
    known = _real(owner, "phase", phase)
    if is_concrete(known) and not np.all(np.isfinite(known)):
        raise CircuitError(f"{owner}: phase must be finite, not {known}")


def _real(owner: str, name: str, number: Any) -> Any:
    """A number without its constraint; raises `CircuitError` where it is not real."""
    plain = number.value if isinstance(number, Constraint) else number
    as_reals(f"{owner}: {name}", plain)
    return plain
