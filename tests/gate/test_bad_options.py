"""Options with nonsense in them: all reported at once, before anything runs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import networks
import pytest

from pytest_ncnn_parity import plugin

NUMBERS = ("timeout", "fix-runs", "fix-seconds")


def refused(pytester: pytest.Pytester, *args: str) -> list[str]:
    """The errors of a pytest that is configured, no more."""
    with pytest.raises(pytest.UsageError) as caught:
        pytester.parseconfigure("--ncnn-parity", *args)
    return str(caught.value).replace(f"{pytester.path}/", "").split("\n")


def test_nothing_runs_with_a_wrong_option(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE)
    result = pytester.runpytest_subprocess(
        "--ncnn-parity", "--ncnn-parity-timeout=soon", "--ncnn-parity-json=."
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "collected" not in result.stdout.str()
    assert "Traceback" not in result.stderr.str()
    result.stderr.fnmatch_lines(["ERROR: --ncnn-parity-json=*", "--ncnn-parity-timeout=soon: *"])


def test_every_wrong_option_is_reported_at_once(pytester: pytest.Pytester) -> None:
    for word in ("", "soon", "-1", "0", "nan", "inf", "1e9"):
        wrong = [f"--ncnn-parity-{name}={word}" for name in NUMBERS]
        reported = refused(pytester, *wrong, "--ncnn-parity-fix=perhaps", "--ncnn-parity-json=")
        assert {line.partition(": ")[0] for line in reported} == {
            *wrong,
            "--ncnn-parity-fix=perhaps",
            "--ncnn-parity-json=",
        }
        assert all(": expected " in line and "(ini: ncnn_parity_" in line for line in reported)


def test_a_baseline_that_is_no_file_is_not_waited_for(pytester: pytest.Pytester) -> None:
    os.mkfifo(pytester.path / "pipe")
    (error,) = refused(pytester, "--ncnn-parity-baseline=pipe")
    assert error.startswith("--ncnn-parity-baseline=pipe: is not a file. Save one")


def test_a_setting_that_is_neither_true_nor_false_is_named(pytester: pytest.Pytester) -> None:
    for name in ("ncnn_parity", "ncnn_parity_require_vulkan"):
        pytester.makeini(f"[pytest]\n{name} = maybe\n")
        args = [] if name == "ncnn_parity" else ["--ncnn-parity"]
        with pytest.raises(pytest.UsageError, match=rf"tox.ini: {name}: invalid truth value 'maybe'"):
            pytester.parseconfigure(*args)


def test_a_model_in_place_of_a_spec_is_told_how_to_get_one(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    result = pytester.runpytest_subprocess("--ncnn-parity", "net.param")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    first = "a first spec for it is printed by pytest --ncnn-parity-init=net.param"
    result.stderr.fnmatch_lines([f"ERROR: net.param is a model: {first}"])


def test_runs_are_counted_in_whole_numbers(pytester: pytest.Pytester) -> None:
    (error,) = refused(pytester, "--ncnn-parity-fix-runs=0.5")
    assert error.startswith("--ncnn-parity-fix-runs=0.5: expected a whole number above 0")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "expected a path"),
        (" ", "expected a path"),
        (".", "expected a file, and found something else under that name"),
        ("folder", "expected a file, and found something else under that name"),
        ("/dev/null", "expected a file, and found something else under that name"),
        ("/dev/full", "expected a file, and found something else under that name"),
        ("pipe", "expected a file, and found something else under that name"),
        ("file/report.json", "cannot be written: Not a directory"),
        ("file/a/b/report.json", "cannot be written: Not a directory"),
        ("x" * 300, "cannot be written: File name too long"),
        ("/proc/none/report.json", "cannot be written: No such file or directory"),
    ],
)
def test_a_report_that_cannot_be_written_is_reported_before_the_run(
    path: str, said: str, pytester: pytest.Pytester
) -> None:
    pytester.mkdir("folder")
    pytester.makefile("", file="")
    os.mkfifo(pytester.path / "pipe")
    (refusal,) = refused(pytester, f"--ncnn-parity-json={path}")
    assert said in refusal
    assert (pytester.path / "file").read_text() == ""


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "expected a path"),
        ("file", "cannot be written: Not a directory"),
        ("file/fixes", "cannot be written: Not a directory"),
    ],
)
def test_a_folder_for_fixes_that_cannot_be_made_is_reported_before_the_run(
    path: str, said: str, pytester: pytest.Pytester
) -> None:
    pytester.makefile("", file="")
    (refusal,) = refused(pytester, "--ncnn-parity-fix=write", f"--ncnn-parity-dir={path}")
    assert said in refusal


def test_nothing_is_made_by_asking(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE)
    before = set(pytester.path.rglob("*"))
    result = pytester.runpytest_subprocess(
        *("--ncnn-parity", "--collect-only", "-q", "-p", "no:cacheprovider"),
        *("--ncnn-parity-fix=write", "--ncnn-parity-dir=a/b"),
    )
    assert result.ret == 0
    written = {p.name for p in set(pytester.path.rglob("*")) - before} - {"stdout", "stderr"}
    assert not {name for name in written if not name.startswith("runpytest")}


@pytest.mark.parametrize("name", ["net.parity.yaml", "net.param", "net.bin"])
def test_no_report_replaces_what_a_gate_reads(name: str, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE)
    before = (pytester.path / name).read_bytes()
    for flag in ("--ncnn-parity-json", "--ncnn-parity-html"):
        (error,) = refused(pytester, f"{flag}={name}")
        assert error.startswith(f"{flag}={name}: expected a report, and not a file that a gate reads")
    assert (pytester.path / name).read_bytes() == before


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest 8 reads no types in TOML")
def test_a_setting_of_the_wrong_type_in_toml_is_named_once(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml("[tool.pytest]\nncnn_parity = true\nncnn_parity_fix = 5\n")
    with pytest.raises(pytest.UsageError) as caught:
        pytester.parseconfigure()
    assert str(caught.value).count("pyproject.toml") == 1


def test_a_misspelled_setting_is_reported_with_the_other_errors(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nncnn_parity_require_vulcan = true\n")
    misspelled, wrong = refused(pytester, "--ncnn-parity-timeout=soon")
    assert misspelled.startswith("tox.ini:2: there is no setting ncnn_parity_require_vulcan")
    assert wrong.startswith("--ncnn-parity-timeout=soon: ")


def test_a_spec_that_is_called_otherwise_is_told_its_name(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", net="model: {}")
    result = pytester.runpytest("--ncnn-parity", "net.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = "net.yaml: the name of a spec ends with .parity.yaml: rename it"
    result.stderr.fnmatch_lines([f"ERROR: {said}"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_error(
    unbuffered: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.chain(pytester.path)
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "pytest", "--ncnn-parity-init=net.param"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == pytest.ExitCode.USAGE_ERROR
    assert process.stderr.strip() == "ERROR: the output could not be written: No space left on device"


def test_what_is_printed_without_a_file_as_stdout(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook takes text alone, and a shell's `>&-` closes stdout."""
    config = pytester.parseconfig("--ncnn-parity-schema=spec")
    notebook = io.StringIO()
    monkeypatch.setattr("sys.stdout", notebook)
    assert plugin.pytest_cmdline_main(config) == pytest.ExitCode.OK
    assert '"$schema"' in notebook.getvalue()
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(pytest.UsageError, match="could not be written: stdout is closed"):
        plugin.pytest_cmdline_main(config)
