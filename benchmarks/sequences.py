"""Sequences under Discrete: filters and a Kalman filter over 10⁶ samples.

The peers are SciPy's filters, which are C, and `lax.scan` of the same recursion written by hand in
jnp. Ours is `ag.compile`, a function of samples that carries its state, and `ag.simulate`, which
also checks every sample and the times. Float64.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal
import timing
from jax import Array, lax

import asgard as ag

COUNT, ORDER, CUT = 1_000_000, 6, 0.2
DISCRETE = ag.Discrete()
SAMPLES = np.random.default_rng(0).normal(size=COUNT)
STEP = jnp.array([[1.0, 0.1], [0.0, 1.0]])
LOOK = jnp.array([[1.0, 0.0]])


def low_pass(**options: Any) -> Any:
    """The filter: numerator and denominator, or sections."""
    return scipy.signal.butter(ORDER, CUT, **options)


class Transposed(ag.Atom):
    """A filter in transposed direct form II: from a sample and its memory to both."""

    numerator: Array
    denominator: Array
    n_in = n_out = 2

    def __call__(self, sample: Array, memory: Array) -> tuple[Array, Array]:
        found = self.numerator[0] * sample + memory[0]
        later = jnp.append(memory[1:], 0.0)
        return found, later + self.numerator[1:] * sample - self.denominator[1:] * found


def filter_of(numerator: Any, denominator: Any) -> ag.Circuit:
    """One atom and a delay of a vector."""
    memory = ag.Delay("n", np.zeros(len(denominator) - 1))
    return (Transposed(numerator, denominator) >> (ag.Id() @ memory)).trace()


def section(numerator: Any, denominator: Any) -> ag.Circuit:
    """A section of order 2 in scalar wires, in direct form II."""
    taps = ag.Delay("n") >> ag.Split() >> (ag.Id() @ ag.Delay("n"))
    back = taps >> (ag.Scalar(-denominator[1]) @ ag.Scalar(-denominator[2])) >> ag.Add()
    loop = ((ag.Id() @ back) >> ag.Add() >> ag.Split()).trace()
    held = taps >> (ag.Scalar(numerator[1]) @ ag.Scalar(numerator[2])) >> ag.Add()
    return loop >> ag.Split() >> (ag.Scalar(numerator[0]) @ held) >> ag.Add()


def update(seen: Array, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """A step of a Kalman filter of a place and a speed, of which the place is seen."""
    mean, covariance = STEP @ mean, STEP @ covariance @ STEP.T + 0.01 * jnp.eye(2)
    gain = covariance @ LOOK.T @ jnp.linalg.inv(LOOK @ covariance @ LOOK.T + 0.25)
    return mean + gain @ (seen - LOOK @ mean), (jnp.eye(2) - gain @ LOOK) @ covariance


def kalman_filter() -> ag.Circuit:
    """The update, with delays of the mean and the covariance."""
    held = ag.Delay("n", jnp.zeros(2)) @ ag.Delay("n", jnp.eye(2))
    twice = (ag.Split() @ ag.Split()) >> ag.Permute((0, 2, 1, 3))
    return (ag.Function(update, 3, 2) >> twice >> (ag.Id(2) @ held)).trace(2)


def filter_by_hand(numerator: Any, denominator: Any) -> Callable[[Array], Array]:
    """`lax.scan` of the transposed direct form."""
    atom = Transposed(jnp.asarray(numerator), jnp.asarray(denominator))

    def body(memory: Array, sample: Array) -> tuple[Array, Array]:
        found, memory = atom(sample, memory)
        return memory, found

    return jax.jit(lambda samples: lax.scan(body, jnp.zeros(ORDER), samples)[1])


def cascade_by_hand(sections: Any) -> Callable[[Array], Array]:
    """`lax.scan` of the sections, in scalars."""

    def body(memory: Any, value: Array) -> tuple[Any, Array]:
        kept = []
        for (b0, b1, b2, _, a1, a2), (first, second) in zip(sections, memory, strict=True):
            found = b0 * value + first
            kept.append((b1 * value - a1 * found + second, b2 * value - a2 * found))
            value = found
        return kept, value

    zero = jnp.zeros(())
    return jax.jit(lambda samples: lax.scan(body, [(zero, zero)] * len(sections), samples)[1])


def kalman_by_hand(samples: Array) -> Any:
    """`lax.scan` of the update."""

    def body(state: Any, seen: Array) -> tuple[Any, Any]:
        state = update(seen, *state)
        return state, state

    return lax.scan(body, (jnp.zeros(2), jnp.eye(2)), samples)[1]


def compare(name: str, circuit: ag.Circuit, samples: Array, peers: dict[str, Any]) -> list[Any]:
    """A row: the times of all ways, ours over the peers', and how far the values are apart."""
    run = ag.compile(circuit, DISCRETE)
    source, numbers = (ag.Samples(samples),), np.arange(len(samples))
    ways = {
        "compile": lambda: run((samples,), None)[0],
        "simulate": lambda: ag.simulate(circuit, numbers, inputs=source, calculus=DISCRETE).outputs,
        **peers,
    }
    first = [jax.tree.leaves(way())[0] for way in ways.values()]
    apart = max(float(np.max(np.abs(np.asarray(x) - np.asarray(first[0])))) for x in first[1:])
    times = timing.interleaved(ways)
    hand, scipys = times["hand"], times.get("scipy")
    ratio = "" if scipys is None else f"{times['compile'] / scipys:.2f}"
    return [
        name,
        *(timing.duration(times[key]) for key in ("compile", "simulate", "hand")),
        "" if scipys is None else timing.duration(scipys),
        ratio,
        f"{hand / times['compile']:.2f}",
        f"{apart:.0e}",
    ]


def values() -> None:
    """Ours against SciPy and against a scan by hand."""
    numerator, denominator = low_pass()
    sections = low_pass(output="sos")
    samples = jnp.asarray(SAMPLES)
    by_hand, cascade = filter_by_hand(numerator, denominator), cascade_by_hand(sections)
    kalman = jax.jit(kalman_by_hand)
    whole = {
        "hand": lambda: by_hand(samples),
        "scipy": lambda: scipy.signal.lfilter(numerator, denominator, SAMPLES),
    }
    in_sections = {
        "hand": lambda: cascade(samples),
        "scipy": lambda: scipy.signal.sosfilt(sections, SAMPLES),
    }
    scalars = ag.Composition(*(section(row[:3], row[3:]) for row in sections))
    seen = samples[:, None]
    timing.print_table(
        (
            *("10⁶ samples", "`ag.compile`", "`ag.simulate`", "`lax.scan` by hand", "SciPy"),
            *("ours / SciPy", "by hand / ours", "apart"),
        ),
        (
            compare(*arguments)
            for arguments in (
                ("order 6, a vector", filter_of(numerator, denominator), samples, whole),
                ("order 6, scalar sections", scalars, samples, in_sections),
                ("Kalman filter", kalman_filter(), seen, {"hand": lambda: kalman(seen)}),
            )
        ),
    )


def mean_slope(fn: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """The gradient of the mean square of a function's first result."""
    return jax.jit(jax.grad(lambda given: jnp.mean(jax.tree.leaves(fn(given))[0] ** 2)))


def pair(name: str, ours: Any, by_hand: Any, samples: Array) -> list[str]:
    """A row: two functions of samples."""
    times = timing.interleaved({"ours": lambda: ours(samples), "hand": lambda: by_hand(samples)})
    both = (timing.duration(times[key]) for key in ("ours", "hand"))
    return [name, *both, f"{times['hand'] / times['ours']:.1f}"]


def transformed() -> None:
    """Gradients of the mean square by 10⁵ samples, and batches of 32 sequences."""
    sections = low_pass(output="sos")
    scalars = ag.Composition(*(section(row[:3], row[3:]) for row in sections))
    samples = jnp.asarray(SAMPLES[:96_000])
    rows = []
    for name, circuit, by_hand, given in (
        ("order 6, scalar sections", scalars, cascade_by_hand(sections), samples),
        ("Kalman filter", kalman_filter(), kalman_by_hand, samples[:, None]),
    ):
        run = ag.compile(circuit, DISCRETE)

        def ours(given: Array, run: Any = run) -> Any:
            return run((given,), None)[0]

        batch = given.reshape(32, -1, *given.shape[1:])
        rows += [
            pair(f"{name}, gradient", mean_slope(ours), mean_slope(by_hand), given),
            pair(
                f"{name}, 32 sequences", jax.jit(jax.vmap(ours)), jax.jit(jax.vmap(by_hand)), batch
            ),
        ]
    timing.print_table(("96,000 samples", "ours", "`lax.scan` by hand", "by hand / ours"), rows)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    print(timing.setting(), end="\n\n")
    values()
    transformed()


if __name__ == "__main__":
    main()
