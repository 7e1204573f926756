"""Fits: the numbers of a circuit moved so that a loss falls, as one compiled program."""
