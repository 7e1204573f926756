"""README's example runs as it stands. Those of the gallery are the site's: see test_gallery.py."""

import runpy
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import asgard as ag

EXAMPLE = Path(__file__).parent.parent / "examples" / "fitting" / "lynx_hare.py"


@pytest.fixture(scope="module")
def lynx_hare(tmp_path_factory):
    """What the example's names are in the end, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("lynx_hare")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(plt, "show", lambda: None)
        found = runpy.run_path(str(EXAMPLE), run_name="__main__")
    return found, folder


@pytest.mark.slow
def test_lynx_hare_finds_the_optimum_and_draws(lynx_hare):
    found, folder = lynx_hare
    optimum = {"a": 0.54016, "b": 0.027165, "c": 0.79638, "d": 0.023695}
    numbers = ag.parameters(found["fit"].circuit)
    for name, value in optimum.items():
        assert abs(numbers[name] / value - 1) < 1e-3
    assert abs(np.sqrt(found["fit"].loss / 42) - 0.219234) < 1e-6
    assert (folder / "lynx_hare.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_band_of_lynx_hare_is_the_spread_of_what_numbers_within_their_errors_give(lynx_hare):
    found, _ = lynx_hare
    known, circuit, hare = found["known"], found["fit"].circuit, found["axes"].collections[0]
    # A hundredth of the errors, within which the model is linear in the numbers.
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(6), known.covariance, size=800)

    def moved(step):
        numbers = dict(zip(known.names, known.values + step / 100, strict=True))
        return found["model"](ag.update(circuit, numbers), found["years"])["hare"]

    spread = 100 * np.std(jax.jit(jax.vmap(moved))(drawn), axis=0)
    # The band's outline goes forth along one edge and back along the other.
    across, up = hare.get_paths()[0].vertices.T
    width = [np.ptp(up[np.isclose(across, year)]) for year in found["years"]]
    # The spread of 800 numbers is known to 1 / sqrt(1600), of which four.
    np.testing.assert_allclose(width, 4 * spread, rtol=0.1)
