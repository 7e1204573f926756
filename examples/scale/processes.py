"""
Paths over processes
====================

Processes, on one machine or on many, join by ``jax.distributed`` and call ``ag.ensemble`` alike;
each gets the statistics of all paths. The references are one process alone, and a closed form.
"""

import json
import os
import socket
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

JOB = """
import json, sys, jax, asgard as ag
if sys.argv[1:]:
    jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
mesh = jax.make_mesh((jax.device_count(),), ("paths",))
kept = ag.statistics.Quantiles(-8.0, 8.0, probabilities=(0.1, 0.5, 0.9))
found = ag.ensemble(
    ag.sde(lambda t, w: 0.0 * w, lambda t, w: 1.0, 0.0), [0.0, 1.0, 2.0, 3.0, 4.0], mesh=mesh,
    calculus=ag.Stochastic(steps=4), key=jax.random.key(0), paths=100_000, reduce=kept,
)
print(json.dumps({"processes": jax.process_count(), "quantiles": found.statistics.tolist()}))
"""


def start(*arguments):
    options = {"stdout": subprocess.PIPE, "env": {**os.environ, "JAX_PLATFORMS": "cpu"}}
    return subprocess.Popen([sys.executable, "-c", JOB, *arguments], **options)


with socket.socket() as free:  # a port that nobody uses
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
jobs = [start(address, "0"), start(address, "1"), start()]
one, two, alone = (json.loads(job.communicate()[0].splitlines()[-1]) for job in jobs)

shares, ts = np.array([0.1, 0.5, 0.9]), np.arange(1.0, 5.0)
found = np.array(one["quantiles"])[1:]
exact = np.sqrt(ts)[:, None] * norm.ppf(shares)
errors = np.sqrt(shares * (1 - shares) / 100_000) / norm.pdf(norm.ppf(shares))
away = (found - exact) / (np.sqrt(ts)[:, None] * errors)
print(f"{one['processes']} processes; at most {np.abs(away).max():.2f} standard errors off")
assert one == two == {"processes": 2, "quantiles": alone["quantiles"]}  # counts add exactly
assert np.abs(away).max() < 4

fine = np.linspace(0.0, 4.0, 100)
for share, line in zip(shares, found.T, strict=True):
    plt.plot(fine, np.sqrt(fine) * norm.ppf(share), label=f"closed form, {share:.0%}")
    plt.plot(ts, line, "ko", markersize=4)
plt.gca().set(xlabel="time", title="Quantiles of Brownian motion; dots: two processes")
plt.legend()
plt.show()
