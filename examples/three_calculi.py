"""One circuit under three calculi: geometric Brownian motion, e^(mu t), and (1 + mu)^n."""

import jax
import jax.numpy as jnp

import asgard as ag

TEXT = (
    "trace(composition(split, monoidal(composition(scalar(0.1), register(t, 1.0)), "
    "composition(scalar(0.3), stochastic_register(t, W))), add, split))"
)


def main() -> int:
    """Prints the circuit under each calculus at t = 0, 1, …, 5."""
    circuit, ts = ag.parse(TEXT), jnp.arange(6.0)
    real = ag.simulate(circuit, ts, calculus=ag.Real(noise="off")).output
    discrete = ag.simulate(circuit, ts, calculus=ag.Discrete(noise="off")).output
    stochastic = ag.ensemble(
        circuit,
        ts,
        calculus=ag.Stochastic(steps=50),
        key=jax.random.key(0),
        paths=100_000,
        reduce=(ag.statistics.Mean(), ag.statistics.Variance()),
    )
    mean, variance = stochastic.statistics
    print(TEXT)
    print("t    Real, drift  Discrete, drift  Stochastic, mean  and deviation")
    for row in zip(ts, real, discrete, mean, jnp.sqrt(variance), strict=True):
        time, *values = map(float, row)
        print(
            f"{time:<4g} {values[0]:<12.6f} {values[1]:<16.6f} {values[2]:<17.4f} {values[3]:.4f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
