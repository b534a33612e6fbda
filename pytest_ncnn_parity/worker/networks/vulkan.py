"""The Vulkan driver: whether a device exists, why there is none, its type and its version."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import ncnn

from pytest_ncnn_parity.network.param import MAGIC
from pytest_ncnn_parity.worker.failures import Unavailable

# variables that name drivers to the Vulkan loader, which uses the first one that is set
NAMING = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
CHOOSING = ("VK_LOADER_DRIVERS_SELECT", "VK_LOADER_DRIVERS_DISABLE")
INSTALLED = tuple(f"{top}/vulkan/icd.d" for top in ("/etc", "/usr/local/share", "/usr/share"))

NVIDIA = 0x10DE
DISCRETE, SOFTWARE = 0, 3  # values of GpuInfo.type (src/gpu.h)


def require(index: int) -> None:
    """Start Vulkan. Raises Unavailable if there is no device `index`."""
    count = ncnn.get_gpu_count()
    if count == 0:
        raise Unavailable(f"no Vulkan device: {why_none(os.environ)}", no_vulkan=True)
    if index >= count:
        there = ", ".join(f"{i} ({name(i)})" for i in range(count))
        raise Unavailable(f"no Vulkan device {index}: there is {there}", no_vulkan=True)


def count() -> int:
    """Return the number of Vulkan devices. The first call starts Vulkan."""
    return int(ncnn.get_gpu_count())


def wake() -> None:
    """Start Vulkan and have ncnn compile a shader, because the first one takes its compiler longest."""
    if count() > 0:
        net = ncnn.Net()
        net.opt.use_vulkan_compute = True
        net.load_param_mem(f"{MAGIC}\n2 2\nInput a 0 1 a\nReLU b 1 1 a b\n")
        net.load_model(os.devnull)
        net.clear()


def name(index: int) -> str:
    return str(ncnn.get_gpu_info(index).device_name())


def takes_int8(index: int) -> bool:
    """Return whether int8 can be uploaded to the device.

    ncnn cannot do it if the device shares the host's memory (src/command.cpp, record_upload).
    """
    return is_discrete(index)


def is_discrete(index: int) -> bool:
    """Return whether there is a device `index` and it is a discrete GPU."""
    there = index < ncnn.get_gpu_count()
    return there and int(ncnn.get_gpu_info(index).type()) == DISCRETE


def is_software(index: int) -> bool:
    """Return whether there is a device `index` and it is the CPU itself, as llvmpipe is."""
    there = index < ncnn.get_gpu_count()
    return there and int(ncnn.get_gpu_info(index).type()) == SOFTWARE


def why_none(environment: Mapping[str, str], folders: Sequence[str] = INSTALLED) -> str:
    """Return why the Vulkan loader found no device, and what to do.

    `folders` hold the manifests of the installed drivers.
    """
    for variable in NAMING:
        if variable in environment:
            value = environment[variable]
            named = [f"names {problem}" for problem in map(_problem, value.split(os.pathsep)) if problem]
            what = "; ".join(named) or "names drivers that have no device here"
            return f"{variable}={value} {what}; correct it, or unset it"
    for variable in CHOOSING:
        if variable in environment:
            return f"{variable}={environment[variable]} is set and leaves none; unset it"
    manifests = sorted(str(path) for folder in folders for path in Path(folder).glob("*.json"))
    if not manifests:
        return (
            "install a driver (for a CPU-only one on Debian or Ubuntu: "
            "apt-get install mesa-vulkan-drivers)"
        )
    broken = [problem for problem in map(_problem, manifests) if problem]
    return "; ".join(broken or manifests) + ": the installed drivers have no device here"


def _problem(path: str) -> str | None:
    """Return what is wrong with a driver's manifest or the library it names, or None."""
    if not path:
        return "no file"
    if not Path(path).exists():
        return f"{path}, which does not exist"
    try:
        library = json.loads(Path(path).read_bytes())["ICD"]["library_path"]
        relative = "/" in library  # a TypeError if it is no text
    except OSError as error:
        return f"{path}, which cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"{path}, which is not a driver's manifest (JSON with ICD: library_path)"
    # a path is relative to the manifest's folder; a bare name is searched for like any library
    if relative:
        library = str(Path(path).parent / library)
    try:
        ctypes.CDLL(library)  # as the Vulkan loader does
    except OSError as error:
        return f"{path}, whose library cannot be loaded: {error}"
    return None


def versions() -> dict[str, dict[str, str]]:
    """Return the versions of the `driver` and of the Vulkan `api`, by device index."""
    by_index = {}
    for index in range(ncnn.get_gpu_count()):
        info = ncnn.get_gpu_info(index)
        driver = _driver_version(info.vendor_id(), info.driver_version())
        by_index[str(index)] = {"driver": driver, "api": _version(info.api_version())}
    return by_index


def _version(number: int) -> str:
    """Unpack a Vulkan version: 7, 10 and 12 bits (VK_API_VERSION_MAJOR and so on)."""
    return f"{number >> 22 & 0x7F}.{number >> 12 & 0x3FF}.{number & 0xFFF}"


def _driver_version(vendor: int, number: int) -> str:
    """Unpack a driver version: NVIDIA's has 10, 8, 8 and 6 bits; Mesa's is packed like Vulkan's."""
    if vendor == NVIDIA:
        return f"{number >> 22}.{number >> 14 & 0xFF}.{number >> 6 & 0xFF}.{number & 0x3F}"
    return _version(number)
