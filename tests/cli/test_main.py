"""The command line."""

import json
import math
import subprocess
import sys

import pytest

from asgard.cli.main import main

GROW = "trace(composition(add, split, monoidal(id, register(t))))"
HEAT = (
    "trace(composition(add, split, "
    "monoidal(id, composition(deregister(x), deregister(x), register(t)))))"
)


def report(capsys, *argv):
    assert main(argv) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def failure(capsys, *argv):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"asgard {argv[0]}: error: ")
    assert "Traceback" not in captured.err
    return captured.err


def caret(message):
    """The text that the caret points at, from there on."""
    *_, line, pointer = message.rstrip("\n").split("\n")
    assert pointer.strip() == "^"
    return line[pointer.index("^") :]


def test_series_prints_coefficients_and_derivatives_in_aligned_columns(capsys):
    lines = report(capsys, "series", GROW, "--input", "1,0,0", "--order", "4").splitlines()
    assert [line.split() for line in lines[1:]] == [
        [str(n), f"{1 / math.factorial(n):.12g}", "1"] for n in range(5)
    ]
    assert len({line.rindex(line.split()[-1]) for line in lines[1:]}) == 1


def test_series_in_two_dimensions_has_a_row_for_each_multi_index(capsys):
    argv = ["series", HEAT, "--input", "x:0,0,0,0,1", "--order", "t=2,x=4"]
    rows = [line.split() for line in report(capsys, *argv).splitlines()[1:]]
    assert rows == [
        ["0", "4", "1", "24"],
        ["1", "2", "12", "24"],
        ["2", "0", "12", "24"],
    ]


def test_series_prints_one_block_an_output(capsys):
    blocks = report(
        capsys, "series", "swap", "--input", "1", "--input", "-2,5", "--order", "1"
    ).split("\n\n")
    assert len(blocks) == 2
    assert blocks[0].split()[-4:-3] == ["-2"]


def test_series_marks_derivatives_that_float64_does_not_hold(capsys):
    lines = report(capsys, "series", GROW, "--input", "1", "--order", "171").splitlines()
    assert lines[-1].endswith("out of range")
    assert float(lines[-2].split()[-1]) == pytest.approx(1)


def test_json_has_full_precision_and_stays_valid_for_what_is_not_finite(capsys):
    argv = ["series", GROW, "--input", "1", "--order", "171", "--json"]
    (output,) = json.loads(report(capsys, *argv))["outputs"]
    assert output["coefficients"][3] == 1 / 6
    assert output["derivatives"][171] is None
    found = json.loads(report(capsys, "series", "log", "--input", "0", "--order", "1", "--json"))
    assert found["outputs"][0]["coefficients"][0] == "-Infinity"
    assert found["dims"] == ["t"]
    found = json.loads(
        report(capsys, "series", "scalar(2j)", "--input", "1", "--order", "0", "--json")
    )
    assert found["outputs"][0]["coefficients"] == [{"real": 0.0, "imag": 2.0}]


def test_check_prints_degrees_and_what_guards_each_loop(capsys):
    text = f"composition(sin, {GROW}, trace(composition(add, cos, split)))"
    printed = report(capsys, "check", text)
    assert "1 -> 1" in printed
    assert "straight: sin" in printed
    assert "guarded by t: add, register(t)" in printed
    assert "algebraic: add, cos (no register cuts it: solved as a fixed point)" in printed


def test_check_indents_loops_within_loops(capsys):
    inner = "trace(composition(add, split, monoidal(id, register(x))))"
    text = f"trace(composition(add, {inner}, split, monoidal(id, register(t))))"
    lines = report(capsys, "check", text).splitlines()
    guarded = [line for line in lines if "guarded by" in line]
    assert len(guarded) == 2
    indents = [len(line) - len(line.lstrip()) for line in guarded]
    assert indents[0] < indents[1]
    (loop,) = json.loads(report(capsys, "check", text, "--json"))["components"]
    assert loop["kind"] == loop["inner"][0]["kind"] == "guarded"
    assert {loop["dim"], loop["inner"][0]["dim"]} == {"t", "x"}


def test_a_circuit_without_nodes_is_all_wiring(capsys):
    assert "all is wiring" in report(capsys, "check", "trace(swap)")


@pytest.mark.parametrize(
    ("argv", "place"),
    [
        (["check", "composition(sin, spin)"], "spin)"),
        (["check", "composition(split(3), add)"], "add)"),
        (["check", "trace(split)"], "trace(split)"),
        (
            ["series", "trace(composition(deregister(t), split))", "--order=2"],
            "deregister(t), split))",
        ),
        (["series", "composition(sin, delay(t, 2.0))", "--input=1", "--order=2"], "delay(t, 2.0))"),
        (["series", "sin", "--input", "1,a,2", "--order", "2"], "a,2"),
        (["series", "sin", "--input", "1,,2", "--order", "2"], ",2"),
        (["series", "sin", "--input", "-1,1e999", "--order", "2"], "1e999"),
        (["series", "sin", "--input", "2x:1", "--order", "2"], "2x:1"),
        (["series", "sin", "--input", "x:1", "--order", "t=2"], "t=2"),
        (["series", "sin", "--input", "x:1", "--order", "x=2,x=3"], "x=3"),
        (["series", "sin", "--input", "1", "--order", "2.5"], "2.5"),
        (["series", "sin", "--input", "1", "--order", "-2"], "-2"),
        (["series", "sin", "--input", "1", "--order", "1000000"], "1000000"),
        (["series", HEAT, "--input", "x:1", "--order", "x=2"], ""),
    ],
)
def test_an_error_is_one_message_with_a_caret_at_its_place(capsys, argv, place):
    assert caret(failure(capsys, *argv)) == place


def test_a_loop_without_a_fixed_point_is_one_message(capsys):
    message = failure(capsys, "series", "trace(composition(add, split))", "--input=1", "--order=2")
    assert "not_converged: the loop through add misses its fixed point" in message


def test_the_number_of_inputs_must_fit(capsys):
    assert "2 inputs" in failure(capsys, "series", "add", "--input", "1", "--order", "2")


def test_arguments_that_do_not_fit_the_usage_exit_with_2(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["series"])
    assert exit.value.code == 2
    assert "usage: asgard series" in capsys.readouterr().err


def run(*argv, text=None):
    command = [sys.executable, "-m", "asgard", *argv]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)


def test_the_module_reads_a_circuit_from_stdin():
    done = run("series", "-", "--input", "0,1", "--order", "3", text="sin\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split() == ["3", "-0.166666666667", "-1"]


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m asgard series sin --input 0,1 --order 20000 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
