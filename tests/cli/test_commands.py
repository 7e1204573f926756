"""Commands that run equations, draw circuits, and list and run examples."""

import json
import subprocess
import sys

import numpy as np
import pytest

from asgard.cli import examples
from asgard.cli.commands import simulate as simulate_command
from asgard.cli.main import main

PROGRAM = '''\
"""A program that draws."""

import sys
import matplotlib.pyplot as plt

assert len(sys.argv) == 1
plt.plot([1, 2])
plt.figure()
plt.show()
print("drawn by", __name__)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of two examples, in place of those that come with Asgard."""
    for category, name, text in (
        ("basics", "draws.py", PROGRAM),
        ("events", "fails.py", '"""One that fails."""\nraise ValueError("no")'),
        ("events", "wrong.toml", 'title = "One that is wrong"\nx = 1'),
        ("data", "numbers.csv", "t,x"),
    ):
        (tmp_path / "examples" / category).mkdir(parents=True, exist_ok=True)
        (tmp_path / "examples" / category / name).write_text(text)
    monkeypatch.setattr(examples, "_folder", lambda: tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_simulate_prints_a_table(capsys):
    argv = ["simulate", "diff(x, t) = -a*x", "--until", "2", "--points", "3"]
    assert main([*argv, "--param", "a=0.5", "--initial", "x=2"]) == 0
    names, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert names == ["t", "x"]
    np.testing.assert_allclose([float(x) for _, x in rows], 2 * np.exp([0, -0.5, -1]), rtol=1e-8)


def test_simulate_writes_what_is_asked_for(tmp_path, capsys):
    argv = ["simulate", "trace(composition(register(t, 1.0), split))", "--until", "1"]
    files = [str(tmp_path / name) for name in ("run.csv", "run.svg")]
    assert main([*argv, "--csv", files[0], "--plot", files[1]]) == 0
    assert capsys.readouterr().out.splitlines() == [f"wrote {files[1]}", f"wrote {files[0]}"]
    assert (tmp_path / "run.csv").read_text().startswith("t,output\n0.0,1.0\n")
    assert "<svg" in (tmp_path / "run.svg").read_text()
    assert main([*argv, "--points", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["columns"]["output"] == pytest.approx(np.exp([0, 0.5, 1]).tolist(), rel=1e-15)


def test_files_that_cannot_be_written_are_refused_before_anything_runs(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(simulate_command, "report_of", None)
    for option, name, message in (
        ("--plot", "a.txt", "expected a name that ends in .png, .svg or .pdf"),
        ("--plot", "a", "expected a name that ends in .png, .svg or .pdf"),
        ("--plot", "none/a.png", "there is no folder"),
        ("--csv", "none/a.csv", "there is no folder"),
    ):
        path = str(tmp_path / name)
        assert main(["simulate", "diff(x, t) = x", "--until", "1", option, path]) == 2
        assert f"{option} {path}: " in (said := capsys.readouterr().err)
        assert message in said


def test_simulate_has_status_1_where_the_run_fails_and_2_where_the_input_is_wrong(capsys):
    assert main(["simulate", "diff(x, t) = x^2", "--until", "2", "--initial", "x=1"]) == 1
    assert "step_size at t = 1" in capsys.readouterr().err
    for argv, message in (
        (["diff(x, t) = -a*x"], "give it in --param or --input"),
        (["diff(x, t) = x", "--initial", "x"], "--initial x: expected NAME=VALUE"),
        (["diff(x, t) = x", "--initial", "x=a"], "--initial x=a: initial.x: "),
        (["diff(x, t) = x", "--method", "euler"], "--method: calculus.method: found the text"),
        (["diff(x, t) = x", "--points", "1"], "--points: times.points: found 1, expected"),
        (
            ["diff(x, t) = x", "--set", "noise.x=1"],
            "--set noise.x=1: noise: found a table, expected an array of",
        ),
        (["spin"], "the system: circuit: "),
        ([" "], "the text is empty: expected equations"),
    ):
        assert main(["simulate", *argv, "--until", "1"]) == 2
        assert message in capsys.readouterr().err


def test_simulate_takes_the_options_of_noise_and_has_a_number_of_steps(capsys):
    argv = ["simulate", "dx = -x*dt + 0.3*dW", "--initial", "x=1", "--until", "1"]
    noisy = [*argv, "--calculus", "stochastic", "--paths", "200", "--points", "2", "--json"]

    def last(*more):
        assert main([*noisy, *more]) == 0
        found = json.loads(capsys.readouterr().out)["columns"]
        return found["mean x"][-1], found["variance x"][-1]

    mean, variance = last()
    exact = 0.045 * (1 - np.exp(-2))
    assert abs(mean - np.exp(-1)) < 5 * np.sqrt(exact / 200)
    assert abs(variance - exact) < 5 * exact * np.sqrt(2 / 199)
    # 1000 steps are the default, and all numbers come of the key.
    assert last("--steps", "1000") == (mean, variance)
    assert last("--dt", "0.001", "--key", "0") == pytest.approx((mean, variance))
    assert last("--key", "1") != (mean, variance)


def test_what_a_run_advises_is_said_in_options_or_in_keys(tmp_path, capsys):
    noisy, stiff = "dx = -x*dt + 0.3*dW", "diff(x, t) = -1e6*(x - cos(t))"
    file = tmp_path / "noisy.toml"
    for system, option, key in (
        (
            noisy,
            "say --calculus stochastic, or --set calculus.noise=off",
            'say name = "stochastic"',
        ),
        (stiff, "say --method radau", 'say method = "radau" in [calculus]'),
        ("diff(x, t) = sqrt(t)", "try --rtol 1e-8", "try rtol = 1e-8 in [calculus]"),
    ):
        assert main(["simulate", system, "--until", "10000"]) != 0
        assert option in capsys.readouterr().err
        file.write_text(f'title = "a"\nequations = "{system}"\ntimes.until = 10000\n')
        assert main(["run", str(file)]) != 0
        said = capsys.readouterr()
        assert key in said.out + said.err
    wrong = ["simulate", noisy, "--until", "1", "--calculus", "stochastic", "--dt", "-1"]
    assert main(wrong) == 2
    assert "--dt: calculus.dt: found -1" in capsys.readouterr().err


def test_draw_writes_a_picture_of_equations_of_circuits_and_of_experiments(tmp_path, capsys):
    assert main(["draw", "diff(x, t) = -a*x", "--param", "a=2"]) == 0
    assert capsys.readouterr().out.startswith("<svg")
    path = tmp_path / "circuit.svg"
    assert main(["draw", "composition(sin, cos)", "--out", str(path)]) == 0
    assert "cos" in path.read_text()
    decay = next(one.path for one in examples.examples("basics") if one.name == "decay")
    assert main(["draw", str(decay), "--out", str(path)]) == 0
    assert main(["draw", "sin", "--out", "picture.gif"]) == 2
    assert main(["draw", "sin", "--out", str(tmp_path / "no" / "such.svg")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_examples_are_listed_by_category_with_their_titles(folder, capsys):
    assert main(["example", "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "basics:",
        "  draws  A program that draws.",
        "events:",
        "  fails  One that fails.",
        "  wrong  One that is wrong",
    ]
    assert main(["example", "-c", "basics"]) == 0
    assert main(["example", "-c", "event"]) == 2
    assert "did you mean events?" in capsys.readouterr().err


def test_all_examples_that_come_with_asgard_have_a_title(capsys):
    assert main(["example", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    assert all(line.endswith(":") or len(line.split()) > 1 for line in lines)


def test_a_program_runs_and_its_pictures_are_written_only_if_asked_for(folder, capsys):
    assert main(["example", "draws"]) == 0
    assert capsys.readouterr().out == "drawn by __main__\n"
    assert not list(folder.glob("*.png"))
    assert main(["example", "draws", "--plot"]) == 0
    assert sorted(path.name for path in folder.glob("*.png")) == ["draws.png", "draws_2.png"]
    assert main(["example", "draws", "--plot", "/no/such/folder.png"]) == 2


def test_an_example_that_fails_has_status_1_and_one_that_is_wrong_has_2(folder, capsys):
    assert main(["example", "fails"]) == 1
    assert capsys.readouterr().err == "fails failed: ValueError: no\n"
    assert main(["example", "wrong"]) == 2
    assert "x: there is no such key" in capsys.readouterr().err
    assert main(["example", "drawz"]) == 2
    assert "did you mean draws?" in capsys.readouterr().err
    assert main(["example"]) == 2


def test_pictures_without_matplotlib_are_an_error_that_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["run", "any.toml", "--plot"]) == 2
    assert 'pip install "asgard[plot]"' in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_stops_after_a_line_is_no_error_of_many_files():
    command = f"{sys.executable} -m asgard example --list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("basics:\n", "")
