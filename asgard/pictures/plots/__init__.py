"""Plots of results. Matplotlib is imported when one is asked for."""

from . import ensemble, fields, fit, response, stream, summary, trajectory
