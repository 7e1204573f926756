"""
A low-pass filter, chunk by chunk
=================================

Butterworth's filter, as two sections in a row. ``ag.compile`` makes it a function of samples that
carries its state, so a stream is fed as it comes in. The reference is SciPy's signal processing.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy import signal

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def section(x, *, b, a):
    """y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2], in transposed form."""
    first, second = ag.delay("n"), ag.delay("n")
    y = b[0] * x + first
    first.input = b[1] * x - a[1] * y + second
    second.input = b[2] * x - a[2] * y
    return y


rows = np.asarray(signal.butter(4, 0.1, output="sos"))
low_pass = section(b=rows[0, :3], a=rows[0, 3:]) >> section(b=rows[1, :3], a=rows[1, 3:])

# %%
# A slow wave with noise comes in, in chunks of 100 samples.
n = np.arange(400)
noisy = np.sin(2 * np.pi * n / 100) + 0.5 * np.random.default_rng(0).normal(size=400)
run, state, chunks = ag.compile(low_pass, ag.Discrete()), None, []
for chunk in noisy.reshape(4, 100):
    filtered, state = run((jnp.asarray(chunk),), state)
    chunks.append(filtered)
found = np.concatenate(chunks)
error = np.max(np.abs(found - signal.sosfilt(rows, noisy)))
w = np.linspace(0.01, 3.14, 256)
options = {"inputs": (0.0,), "calculus": ag.Discrete()}
response = ag.frequency_response(low_pass, w, **options)[:, 0, 0]
response_error = np.max(np.abs(response - signal.sosfreqz(rows, w)[1]))
print(f"largest error of samples {error:.1e}, of the frequency response {response_error:.1e}")
assert error < 1e-14  # the same sums, rounded in another order
assert response_error < 1e-12  # a pole at 0.95 amplifies rounding

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.plot(n, noisy, color="0.75", label="in")
left.plot(n, found, label="out")
left.set(xlabel="sample", title="Four chunks of a stream")
left.legend()
right.semilogx(w, 20 * np.log10(np.abs(response)))
right.axvline(0.1 * np.pi, color="0.4", linestyle=":", label="cutoff")
right.set(xlabel="frequency (rad per sample)", ylabel="gain (dB)", ylim=(-100, 5))
right.legend()
plt.show()
