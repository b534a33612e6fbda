"""Vulkan drivers that are missing, broken or misnamed: a skip that says which, and the rest intact."""

from __future__ import annotations

import json
from pathlib import Path

import faulty_driver
import networks
import pytest
import verdicts
from conftest import Gate, fresh_python

COMPARE = "[cpu-vs-vulkan, fp16-vs-fp32-vulkan, fp16-range]"


def skipped_for(folder: Path) -> str:
    """The one reason for which all Vulkan cases are skipped; what needs no GPU has passed."""
    networks.convolution(folder)
    judged = verdicts.of(verdicts.plan(folder, COMPARE))
    assert verdicts.failed(judged) == {}
    assert {v.outcome for name, v in judged.items() if "fp16-range" in name} == {"passed"}
    (reason,) = {v.text for name, v in judged.items() if "fp16-range" not in name}
    return reason


@pytest.mark.parametrize("variable", ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"])
def test_a_driver_that_the_environment_names_and_that_is_not_there(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/nonexistent/icd.json")
    assert skipped_for(tmp_path) == (
        f"no Vulkan device: {variable}=/nonexistent/icd.json names /nonexistent/icd.json, "
        "which does not exist; correct it, or unset it"
    )


def test_a_manifest_that_is_not_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.json").write_text("not json")
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "broken.json"))
    assert f"names {tmp_path}/broken.json, which is not a driver's manifest" in skipped_for(tmp_path)


def test_a_library_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "driver.so").write_text("no library")
    manifest = faulty_driver.manifest(tmp_path, "./driver.so")
    monkeypatch.setenv("VK_ICD_FILENAMES", str(manifest))
    reason = skipped_for(tmp_path)
    assert f"names {manifest}, whose library cannot be loaded: " in reason
    assert "driver.so" in reason


def test_drivers_that_are_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "")
    assert "VK_ICD_FILENAMES= names no file" in skipped_for(tmp_path)


def why_none(environment: dict[str, str], *folders: Path) -> str:
    """What is said where no device was found, with these folders for the system's."""
    code = (
        "import json, sys\n"
        "from pytest_ncnn_parity.worker.networks import vulkan as driver\n"
        "environment, folders = map(json.loads, sys.argv[1:])\n"
        "print(driver.why_none(environment, folders))\n"
    )
    return fresh_python(code, json.dumps(environment), json.dumps([*map(str, folders)])).stdout.strip()


def test_where_no_driver_is_installed_the_message_says_how_to_install_one(tmp_path: Path) -> None:
    assert "apt-get install mesa-vulkan-drivers" in why_none({}, tmp_path / "none", tmp_path)


def test_an_installed_driver_that_lacks_a_library_is_named(tmp_path: Path) -> None:
    manifest = faulty_driver.manifest(tmp_path, "libNoSuchDriver.so.0")
    message = why_none({}, tmp_path)
    assert message.startswith(f"{manifest}, whose library cannot be loaded: libNoSuchDriver.so.0")
    assert message.endswith("the installed drivers have no device here")


def test_a_file_that_is_no_manifest_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"ICD": {}}', '{"ICD": {"library_path": 5}}'):
        (tmp_path / "some.json").write_text(text, "utf-8")
        assert "which is not a driver's manifest" in why_none({}, tmp_path)


def test_a_variable_that_leaves_no_driver_is_named() -> None:
    message = why_none({"VK_LOADER_DRIVERS_DISABLE": "*"})
    assert message == "VK_LOADER_DRIVERS_DISABLE=* is set and leaves none; unset it"


@pytest.mark.once
@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("constructor:1:6", "killed by SIGABRT"),
        ("vkCreateInstance:1:11", "killed by SIGSEGV"),
        ("vkCreateDevice:1:hang", "no answer for 5 s, so it was killed"),
    ],
)
def test_a_driver_that_dies_as_it_starts_is_one_failure_for_each_setup(
    fault: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many samples there are, it is tried once."""
    faulty_driver.install(monkeypatch, tmp_path, fault, once=False)
    networks.convolution(tmp_path)
    judged = verdicts.of(verdicts.plan(tmp_path, COMPARE, samples=3), timeout=5)
    assert faulty_driver.times_it_happened(tmp_path) == 1
    cause = "timeout" if "hang" in fault else "crash"
    assert verdicts.failed(judged) == {
        "s0::cpu-vs-vulkan::c1": cause,
        "s0::fp16-vs-fp32-vulkan::in0": cause,
    }
    assert judged["s0::cpu-vs-vulkan::c1"].text.startswith(f"{end} on vulkan fp32\nin: start Vulkan")
    for name, verdict in judged.items():
        if "fp16-range" in name:
            assert verdict.outcome == "passed"


@pytest.mark.once
def test_where_vulkan_is_required_its_absence_is_red(
    gate: Gate, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent/icd.json")
    networks.convolution(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [cpu-vs-vulkan, fp16-range]\n")
    run = gate("--ncnn-parity-require-vulkan")
    assert len(run.ids("failed", "cpu-vs-vulkan")) == 4
    message = run.cases["noise::cpu-vs-vulkan::output:c3"]["message"]
    assert "VK_ICD_FILENAMES=/nonexistent/icd.json names" in message
    assert run.ids("failed", "fp16-range") == []


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    own = "{name: other, reference: {device: cpu}, candidate: {device: 'vulkan:7'}}"
    judged = verdicts.of(verdicts.plan(tmp_path, f"[{own}, fp16-range]"))
    assert verdicts.failed(judged) == {}
    assert "no Vulkan device 7: there is 0 (" in judged["s0::other::c1"].text
    assert judged["s0::fp16-range::c1"].outcome == "passed"
