"""What of a machine is in the key. Folders of files represent machines with other drivers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ncnn_parity.cache import machine, vulkan_files

CPUINFO = """\
processor\t: 0
model name\t: Some CPU
cpu MHz\t\t: 2100.0
flags\t\t: fpu avx2 f16c

processor\t: 1
model name\t: Some CPU
cpu MHz\t\t: 2400.0
flags\t\t: fpu avx2 f16c
"""


def test_the_processor_is_known_by_its_name_and_instructions_not_by_its_clock(tmp_path: Path) -> None:
    def of(text: str) -> str:
        (tmp_path / "cpuinfo").write_text(text, "utf-8")
        return machine.processor(tmp_path / "cpuinfo")

    usual = of(CPUINFO)
    assert of(CPUINFO.replace("2400", "800")) == usual
    assert of(CPUINFO + CPUINFO.replace(": 0", ": 2").replace(": 1", ": 3")) == usual
    assert of(CPUINFO.replace("Some", "Other")) != usual
    assert of(CPUINFO.replace("avx2", "avx2 avx512f")) != usual
    assert of(CPUINFO.replace("avx2", "avx2 avx512f", 1)) != usual
    assert machine.processor(tmp_path / "none")


def test_variables_that_the_libraries_read_count() -> None:
    usual = {"PATH": "/bin", "HOME": "/root", "TERM": "xterm"}
    assert machine.variables(usual) == []
    names = ("VK_ICD_FILENAMES", "LP_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_PERTURB_", "LD_PRELOAD")
    for name in names:
        assert machine.variables({**usual, name: "1"}) == [f"{name}=1"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with a driver, its library, a GPU on PCI, one on the chip, and their devices."""
    files = {
        "usr/share/vulkan/icd.d/gpu.json": json.dumps({"ICD": {"library_path": "libgpu.so.1"}}),
        "usr/lib64/libgpu.so.1": "code",
        "etc/vulkan/implicit_layer.d/layer.json": json.dumps({"layer": {"library_path": "./layer.so"}}),
        "etc/vulkan/implicit_layer.d/layer.so": "code",
        "sys/bus/pci/devices/0000:00:02.0/class": "0x030000\n",
        "sys/bus/pci/devices/0000:00:02.0/device": "0x46a6\n",
        "sys/bus/pci/devices/0000:00:02.0/driver/module/version": "1.0\n",
        "sys/bus/pci/devices/0000:00:03.0/class": "0x020000\n",
        "sys/bus/pci/devices/0000:00:03.0/device": "0x1000\n",
        "sys/class/drm/card1/device/uevent": "OF_COMPATIBLE_0=brcm,2711-v3d\n",
        "proc/driver/nvidia/version": "NVRM version: 535\n",
        "dev/dri/renderD128": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def shown(root: Path, **environ: str) -> str:
    return vulkan_files.shown({"HOME": str(root / "home"), **environ}, root)


def writing(name: str, text: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")

    return write


@pytest.mark.parametrize(
    "change",
    [
        writing("usr/share/vulkan/icd.d/gpu.json", json.dumps({"ICD": {"library_path": "other.so"}})),
        writing("usr/share/vulkan/icd.d/second.json", "{}"),
        writing("home/.local/share/vulkan/icd.d/own.json", "{}"),
        writing("usr/lib64/libgpu.so.1", "other code"),
        writing("etc/vulkan/implicit_layer.d/layer.so", "other code"),
        writing("sys/bus/pci/devices/0000:00:02.0/device", "0x46a7\n"),
        writing("sys/bus/pci/devices/0000:00:02.0/driver/module/version", "1.1\n"),
        writing("sys/class/drm/card1/device/uevent", "OF_COMPATIBLE_0=brcm,2712-v3d\n"),
        writing("proc/driver/nvidia/version", "NVRM version: 545\n"),
        writing("dev/nvidia0", ""),
        lambda root: (root / "dev/dri/renderD128").unlink(),
        lambda root: (root / "usr/lib64/libgpu.so.1").unlink(),
        lambda root: (root / "usr/share/vulkan/icd.d/gpu.json").unlink(),
    ],
)
def test_another_driver_or_device_shows(root: Path, change: Callable[[Path], None]) -> None:
    before = shown(root)
    assert shown(root) == before
    change(root)
    assert shown(root) != before


@pytest.mark.parametrize(
    "change",
    [
        writing("sys/bus/pci/devices/0000:00:03.0/device", "0x1001\n"),
        writing("usr/share/vulkan/registry/vk.xml", "<x/>"),
        writing("usr/share/vulkan/icd.d/readme.txt", "text"),
    ],
)
def test_what_is_no_driver_and_no_gpu_does_not(root: Path, change: Callable[[Path], None]) -> None:
    before = shown(root)
    change(root)
    assert shown(root) == before


def test_drivers_that_a_variable_names_count(root: Path) -> None:
    own = root / "own.json"
    own.write_text("{}", "utf-8")
    before = shown(root)
    named = shown(root, VK_DRIVER_FILES=str(own))
    assert named != before
    own.write_text("{ }", "utf-8")
    assert shown(root, VK_DRIVER_FILES=str(own)) != named


@pytest.mark.parametrize(
    "text", ["", "[1]", '"x"', "{", '{"ICD": 5}', '{"ICD": {"library_path": null}}']
)
def test_a_manifest_of_another_form_counts_as_it_is(root: Path, text: str) -> None:
    before = shown(root)
    writing("usr/share/vulkan/icd.d/gpu.json", text)(root)
    assert shown(root) != before
