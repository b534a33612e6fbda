"""The values of options: which counts, what paths are relative to, and all errors at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from given_options import options, source

from pytest_ncnn_parity import option_values
from pytest_ncnn_parity.base import memory
from pytest_ncnn_parity.option_values import OptionsError


def test_nothing_given(tmp_path: Path) -> None:
    given = options(tmp_path)
    assert (given.reports, given.baseline, given.repro) == ({}, None, None)
    assert (given.fix, given.fix_runs, given.timeout) == ("suggest", 300, 120.0)
    assert given.dir == tmp_path / ".ncnn-parity"
    flags = (given.accumulated, given.require_vulkan, given.allow_outside, given.baseline_fail)
    assert flags == (False,) * 4


def test_an_empty_folder_in_the_ini_is_the_default(tmp_path: Path) -> None:
    given = option_values.read(source(tmp_path, {"fix": "write"}, {"dir": ""}))
    assert given.dir == tmp_path / ".ncnn-parity"


def test_the_command_line_goes_before_the_ini(tmp_path: Path) -> None:
    ini = {"fix": "off", "timeout": "5", "json": "ini.json", "accumulated": True, "memory": "2GiB"}
    given = option_values.read(source(tmp_path, {"fix": "suggest", "timeout": "9"}, ini))
    assert (given.fix, given.timeout) == ("suggest", 9.0)
    assert (given.accumulated, given.memory) == (True, 2 << 30)


def test_paths_are_relative_to_where_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "called").mkdir()
    given = option_values.read(source(tmp_path, {"json": "a.json"}, {"baseline": "b.json"}))
    assert given.reports == {"json": tmp_path / "called" / "a.json"}
    assert given.baseline == tmp_path / "b.json"
    assert given.shown(tmp_path)["json"] == "called/a.json"
    assert given.shown(tmp_path / "called")["baseline"] == str(tmp_path / "b.json")


def test_a_home_is_found_where_no_shell_has_replaced_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    given = option_values.read(source(tmp_path, {"json": "~/a.json"}, {"baseline": "~/b.json"}))
    assert given.reports == {"json": tmp_path / "a.json"}
    assert given.baseline == tmp_path / "b.json"
    (tmp_path / "called").mkdir()
    assert options(tmp_path, repro="~nobody-here/x").repro == tmp_path / "called" / "~nobody-here" / "x"


@pytest.mark.parametrize("memory", ["1KiB", "9" * 400], ids=["too small", "no number of bytes"])
def test_every_wrong_value_is_named_with_what_was_expected(memory: str, tmp_path: Path) -> None:
    wrong = {"fix": "perhaps", "timeout": "soon", "baseline-factor": "1", "memory": memory}
    typed = {name.replace("-", "_"): value for name, value in wrong.items()}
    with pytest.raises(OptionsError) as caught:
        options(tmp_path, **typed)
    lines = str(caught.value).splitlines()
    assert sorted(line.partition(": expected ")[0] for line in lines) == sorted(
        f"--ncnn-parity-{name}={value}" for name, value in wrong.items()
    )
    assert "--ncnn-parity-fix=perhaps: expected off, suggest or write (ini: ncnn_parity_fix)" in lines


def test_each_report_has_a_file_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"-html=.*expected another file than that of --ncnn-"):
        options(tmp_path, json="report", html="./report")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there are no links to open files")
def test_what_this_process_has_open_is_no_file_for_a_report(tmp_path: Path) -> None:
    """`/dev/stdout > log`: the report would replace the log that it is written to."""
    with (tmp_path / "log").open("w") as log:
        descriptor = Path(f"/dev/fd/{log.fileno()}")
        (tmp_path / "link").symlink_to(descriptor)
        for place in (descriptor, tmp_path / "link", Path(f"/proc/self/fd/{log.fileno()}")):
            with pytest.raises(OptionsError, match="expected a file, and found something else"):
                options(tmp_path, json=str(place))
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "log")
    assert options(tmp_path, json=str(tmp_path / "link")).reports.keys() == {"json"}


@pytest.mark.parametrize(("name", "value"), [("baseline_fail", True), ("baseline_factor", "3")])
def test_what_is_asked_of_a_baseline_on_the_command_line_needs_one(
    name: str, value: object, tmp_path: Path
) -> None:
    with pytest.raises(OptionsError, match=f"--ncnn-parity-{name.replace('_', '-')} needs --ncnn-p"):
        options(tmp_path, **{name: value})
    assert option_values.read(source(tmp_path, {}, {name: value})).baseline is None


def test_workers_of_the_ini_and_of_the_command_line(tmp_path: Path) -> None:
    ini = {"workers": ["old: python=old/python", "arm: command=arm emulated"]}
    typed = {"workers": ["old: python=new/python"], "require_workers": True}
    given = option_values.read(source(tmp_path, typed, ini))
    assert given.workers["old"].command == (str(tmp_path / "called" / "new/python"),)
    assert (given.workers["arm"].emulated, given.require_workers) == (True, True)
    shown = f"old: python {tmp_path}/called/new/python; arm: command arm"
    assert given.shown(tmp_path)["workers"] == shown
    assert options(tmp_path).shown(tmp_path)["workers"] is None
    with pytest.raises(OptionsError) as caught:
        option_values.read(source(tmp_path, {}, {"workers": ["old", "x: ssh="]}))
    assert len(caught.value.errors) == 2
    assert all("ini: ncnn_parity_workers" in line for line in caught.value.errors)


def test_a_share_that_is_too_small_is_said_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "machine", lambda: 100 << 20)
    with pytest.raises(OptionsError) as error:
        option_values.read(source(tmp_path, {}, {}))
    assert "--ncnn-parity-memory=75%: expected 128 MiB or more" in str(error.value)
    assert "; here 75% is 75 MiB (ini: ncnn_parity_memory)" in str(error.value)
