"""The wheel works where the repository is not, in an environment of its own."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRIED = """
import importlib.metadata
import importlib.resources
import pathlib
import sys

import asgard as ag

assert pathlib.Path(ag.__file__).is_relative_to(sys.prefix), ag.__file__
assert importlib.metadata.version("asgard") == VERSION
assert importlib.resources.files("asgard").joinpath("py.typed").is_file()
print(ag.parse("trace(composition(add, split, monoidal(id, register(t))))"))  # by its grammar
print(ag.simulate(ag.equations("diff(x, t) = -x", initial={"x": 1.0}), [0.0, 1.0])["x"][-1] < 0.37)
"""


def run(*command, cwd):
    """What a command prints; its error if it fails."""
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_imports_and_its_commands_run(tmp_path):
    pip = (sys.executable, "-m", "pip")
    run(*pip, "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT), cwd=tmp_path)
    (wheel,) = tmp_path.glob("asgard-*.whl")
    clean = tmp_path / "clean"
    venv.create(clean, with_pip=False, symlinks=True)
    python = clean / "bin" / "python"
    run(*pip, "--python", str(python), "install", "-q", "--no-deps", str(wheel), cwd=tmp_path)
    # Dependencies are those of this environment; its own link to the repository is not followed.
    (packages,) = clean.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    version = wheel.name.split("-")[1]
    printed = run(str(python), "-c", f"VERSION = {version!r}\n{TRIED}", cwd=tmp_path)
    assert printed.splitlines() == [
        "trace(composition(add, split, monoidal(id, register(t))))",
        "True",
    ]
    assert "lynx_hare" in run(str(python), "-m", "asgard", "example", "--list", cwd=tmp_path)
    text, command = "composition(exp, sin)", str(clean / "bin" / "asgard")
    assert text in run(command, "check", text, cwd=tmp_path)
    assert "Exponential decay" in run(command, "example", "-c", "basics", cwd=tmp_path)
