"""The long example runs as it stands. Those of the gallery are shorter: see test_gallery.py."""

import importlib.util
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

EXAMPLES = Path(__file__).parent.parent / "examples"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lynx_hare():
    return loaded("lynx_hare")


@pytest.mark.slow
def test_lynx_hare_finds_the_optimum_and_draws(lynx_hare, tmp_path, capsys):
    output = tmp_path / "picture.png"
    assert lynx_hare.main(["--output", str(output)]) == 0
    printed = capsys.readouterr().out
    found = {
        name: float(value)
        for name, value in re.findall(r"^  (\w+) +\S+ +(\S+) +\S+$", printed, re.M)
    }
    optimum = {"a": 0.54016, "b": 0.027165, "c": 0.79638, "d": 0.023695, "x0": 34.602, "y0": 5.8445}
    for name, value in optimum.items():
        assert abs(found[name] / value - 1) < 1e-3
    assert "0.219234 fitted" in printed
    assert "picture" in printed
    assert output.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_band_of_lynx_hare_is_the_spread_of_what_numbers_within_their_errors_give(lynx_hare):
    years, *species = np.loadtxt(lynx_hare.RECORDS, delimiter=",", skiprows=1, unpack=True)
    ts, records = jnp.asarray(years), jnp.stack(species)
    circuit = lynx_hare.fitted(ts, records).circuit
    known = ag.uncertainty(circuit, lynx_hare.residuals, args=(ts, records))
    # A hundredth of the errors, within which logarithms are linear in the numbers.
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(6), known.covariance, size=800)

    def moved(step):
        numbers = dict(zip(known.names, known.values + step / 100, strict=True))
        return lynx_hare.logarithms(ag.update(circuit, numbers), ts)

    spread = 100 * np.std(jax.jit(jax.vmap(moved))(drawn), axis=0)
    found = lynx_hare.band(circuit, ts, known.covariance)
    # The spread of 800 numbers is known to 1 / sqrt(1600), of which four.
    np.testing.assert_allclose(found, spread, rtol=0.1)


@pytest.mark.slow
def test_lynx_hare_says_that_matplotlib_is_missing(lynx_hare, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    output = tmp_path / "picture.png"
    assert lynx_hare.main(["--output", str(output)]) == 0
    captured = capsys.readouterr()
    assert "0.219234" in captured.out
    assert "matplotlib" in captured.err
    assert not output.exists()


def test_lynx_hare_says_that_optimistix_is_missing(lynx_hare, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optimistix", None)
    assert lynx_hare.main(["--output", str(tmp_path / "picture.png")]) == 1
    assert "asgard[fit]" in capsys.readouterr().err
