"""The examples run as they stand."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def lynx_hare():
    spec = importlib.util.spec_from_file_location("lynx_hare", EXAMPLES / "lynx_hare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lynx_hare_reaches_the_published_errors_and_draws(lynx_hare, tmp_path, capsys):
    output = tmp_path / "picture.png"
    assert lynx_hare.main(["--output", str(output)]) == 0
    printed = capsys.readouterr().out
    errors = dict(re.findall(r"root mean square error, (\w+) +([0-9.]+)", printed))
    assert errors == {"hare": "5.80", "lynx": "4.80"}
    assert output.read_bytes().startswith(b"\x89PNG")


def test_lynx_hare_says_that_matplotlib_is_missing(lynx_hare, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    output = tmp_path / "picture.png"
    assert lynx_hare.main(["--output", str(output)]) == 0
    captured = capsys.readouterr()
    assert "5.80" in captured.out
    assert "matplotlib" in captured.err
    assert not output.exists()
