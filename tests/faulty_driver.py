"""A real Vulkan driver with a fault: the one that is installed, and faulty_driver.c in front of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

MANIFESTS = (Path("/usr/share/vulkan/icd.d"), Path("/etc/vulkan/icd.d"))


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, fault: str, once: bool = True) -> None:
    """Make Vulkan use the driver with `fault` (function:call:what), built into `folder`."""
    monkeypatch.setenv("REAL_DRIVER", real())
    monkeypatch.setenv("FAULT", fault)
    monkeypatch.setenv("HAPPENED", str(folder / "it_happened"))
    if once:
        monkeypatch.setenv("FAULT_ONCE", "1")
    monkeypatch.delenv("VK_DRIVER_FILES", raising=False)
    monkeypatch.setenv("VK_ICD_FILENAMES", str(manifest(folder, build(folder))))


def times_it_happened(folder: Path) -> int:
    path = folder / "it_happened"
    return path.stat().st_size if path.exists() else 0


def build(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: the driver with a fault cannot be built")
    library = folder / "faulty_driver.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl"], check=True
    )
    return library


def manifest(folder: Path, library: Path | str) -> Path:
    path = folder / "faulty.json"
    icd = {"library_path": str(library), "api_version": "1.3.0"}
    path.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": icd}), "utf-8")
    return path


def real() -> str:
    """llvmpipe's library, as its manifest names it."""
    for folder in MANIFESTS:
        for path in sorted(folder.glob("lvp_icd*.json")):
            return str(json.loads(path.read_text("utf-8"))["ICD"]["library_path"])
    pytest.skip("llvmpipe is not installed: there is no driver to put a fault in front of")
