"""LaTeX of systems said in all ways is what matplotlib's mathtext can read."""

import pytest
from four_ways_systems import SYSTEMS
from helpers import rendered

import asgard as ag

# What `to_equations` refuses: arrays.
NO_TEXT = {"Lorenz-96 of 20", "neural ODE, Tsit5"}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_latex_of_a_system_renders(system):
    for form, build in system.forms.items():
        circuit = build(**system.numbers)
        if system.name in NO_TEXT and form != "equations":
            with pytest.raises(ag.CircuitError, match="to_equations: "):
                ag.to_latex(circuit)
        else:
            for line in ag.to_latex(circuit).split("\n"):
                if "{aligned}" not in line:
                    rendered(line.removesuffix(r" \\").replace("&", ""))
