"""Circuits from Python functions: `@ag.circuit`, and `ag.ode`, `ag.sde`, `ag.recurrence` on top.

The function is traced once by JAX, on the types of its wires (`traced`). State atoms and circuits
that it calls are opened values in the trace (`recorder`). The trace is cut into excerpts, so that
no output of one depends on an input that it does not need (`cutting`), and `assemble` joins these.
"""
