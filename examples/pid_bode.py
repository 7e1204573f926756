"""A Bode plot of an arm under gravity and its PID controller, at the angle where it is held."""

import sys

import jax
import jax.numpy as jnp

import asgard as ag

HELD = jnp.pi / 4


@ag.circuit
def loop(reference, *, closed=True, proportional=30.0, integral=40.0, derivative=6.0, cutoff=100.0):
    """The arm and its controller. If not closed, the reference is the controller's error."""
    angle, speed = ag.register("t", 0.5), ag.register("t", 0.0)
    total, slow = ag.register("t", 0.0), ag.register("t", 0.0)
    error = reference - angle if closed else reference
    fast = cutoff * (error - slow)  # the derivative of the error, filtered
    torque = proportional * error + integral * total + derivative * fast
    total.input, slow.input = error, fast
    angle.input = speed
    speed.input = (torque - 2.0 * 9.81 * 0.5 * jnp.sin(angle) - 0.4 * speed) / 0.5
    return {"angle": angle, "speed": speed, "total": total, "slow": slow}


def main(output: str = "pid_bode.png") -> int:
    """Prints the operating point and the margin, and draws the picture."""
    rest = ag.equilibrium(loop(), inputs=(HELD,))
    w = jnp.logspace(-1, 3, 400)
    about = {"at": rest.state, "inputs": (0.0,)}
    opened = ag.frequency_response(loop(closed=False), w, **about)[:, 0, 0]
    crossing = int(jnp.argmax(jnp.abs(opened) < 1))
    margin = 180 + jnp.degrees(jnp.angle(opened[crossing]))
    print(f"torque that holds the arm  {40.0 * float(rest['total']):.4f} N m")
    print(f"phase margin               {margin:.1f} degrees at {float(w[crossing]):.1f} rad/s")

    axes = ag.plot_frequency_response(
        loop(closed=False), w, output="angle", label="open loop", **about
    )
    closed = {"label": "closed loop", "axes": axes, "units": {"time": "s"}}
    ag.plot_frequency_response(loop(), w, at=rest, output="angle", **closed)
    for panel in axes:
        panel.axvline(w[crossing], color="0.4", linewidth=0.8, linestyle=":")
    axes[0].figure.savefig(output, dpi=120)
    return 0


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    raise SystemExit(main(*sys.argv[1:]))
