"""Lists Vulkan drivers and devices from files alone: no driver is loaded and no device is opened."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pytest_ncnn_parity.base import digests

# the subfolders that Vulkan's loader searches: LoaderInterfaceArchitecture.md
KINDS = ("icd.d", "implicit_layer.d", "explicit_layer.d", "loader_settings.d")
NODES = ("dri/*", "nvidia*", "kfd", "dxg", "mali*", "kgsl*", "pvr*")  # device files in /dev
DISPLAY_OR_ACCELERATOR = ("0x03", "0x12")  # classes of PCI devices


def shown(environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """Drivers with their libraries, devices, and the kernel's side, a line each."""
    devices = [*_pci(root), *_platform_devices(root)]
    kernel = [f"kernel {platform.release()}"] if devices else []
    nodes, nvidia = _nodes(root), _text(root / "proc/driver/nvidia/version")
    return "\n".join([*_manifests(environ, root), *devices, *nodes, *kernel, nvidia])


def _manifests(environ: Mapping[str, str], root: Path) -> Iterator[str]:
    """The files that name drivers and layers: path, digest, and the library's path, size and time."""
    folders = [folder / "vulkan" / kind for folder in _data_folders(environ, root) for kind in KINDS]
    named = [
        Path(entry)
        for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES", "VK_LAYER_PATH")
        for entry in environ.get(name, "").split(os.pathsep)
        if entry
    ]
    for place in dict.fromkeys([*folders, *named]):
        with suppress(OSError):
            for manifest in sorted(place.glob("*.json")) if place.is_dir() else [place]:
                yield f"{manifest} {digests.of_file(manifest)} {_library(manifest, environ, root)}"


def _data_folders(environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    home = Path(environ.get("HOME") or root / "root")
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    yield from _listed(environ.get("XDG_CONFIG_DIRS"), [root / "etc/xdg"])
    yield root / "etc"
    yield Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    usual = [root / "usr/local/share", root / "usr/share"]
    yield from _listed(environ.get("XDG_DATA_DIRS"), usual)
    yield from (root / "opt/homebrew/share", root / "opt/homebrew/etc", root / "usr/local/etc")


def _listed(text: str | None, usual: list[Path]) -> list[Path]:
    return [Path(entry) for entry in (text or "").split(os.pathsep) if entry] or usual


def _library(manifest: Path, environ: Mapping[str, str], root: Path) -> str:
    """The library that `manifest` names, as far as that can be found out."""
    try:
        content = json.loads(manifest.read_text("utf-8"))
        name = str((content.get("ICD") or content["layer"])["library_path"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "names no library"
    beside = [manifest.parent / name] if "/" in name else [f / name for f in _searched(environ, root)]
    for path in beside:
        with suppress(OSError):
            status = path.stat()
            return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    return f"{name} not there"


def _searched(environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    """Where the dynamic linker looks for a library without a path."""
    yield from _listed(environ.get("LD_LIBRARY_PATH"), [])
    for settings in (root / "etc/ld.so.conf", *sorted((root / "etc/ld.so.conf.d").glob("*.conf"))):
        for line in _text(settings).splitlines():
            if line.startswith("/"):
                yield Path(line.strip())
    machine = platform.machine()
    for folder in (f"lib/{machine}-linux-gnu", "lib64", "lib"):
        yield from (root / "usr" / folder, root / folder)


def _pci(root: Path) -> Iterator[str]:
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if _text(device / "class").startswith(DISPLAY_OR_ACCELERATOR):
            names = ("vendor", "device", "subsystem_vendor", "subsystem_device", "revision")
            ids = [_text(device / name) for name in names]
            driver = (device / "driver").resolve().name
            yield " ".join([device.name, *ids, driver, _text(device / "driver/module/version")])


def _platform_devices(root: Path) -> Iterator[str]:
    """GPUs of a system on a chip, which are on no bus that could be listed."""
    for card in sorted((root / "sys/class/drm").glob("card*/device/uevent")):
        yield f"{card.parts[-3]} {' '.join(_text(card).split())}"


def _nodes(root: Path) -> Iterator[str]:
    """The devices' files, and whether this user may use them: a container may have none of them."""
    for pattern in NODES:
        for node in sorted((root / "dev").glob(pattern)):
            yield f"{node} {os.access(node, os.R_OK | os.W_OK)}"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
