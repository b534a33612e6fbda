"""The part of the key that describes this machine: processor, system, packages, drivers, variables.

It is read from files alone; no driver is started and ncnn is not imported. The code of a driver is
covered by `code_files`; this module covers what decides which drivers there are.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from pytest_ncnn_parity.base import digests
from pytest_ncnn_parity.cache import vulkan_files

PACKAGES = ("ncnn", "numpy", "pillow")

# prefixes of the environment variables that the libraries in a worker read
VARIABLES = (
    *("VK_", "VULKAN_", "NCNN_", "MESA_", "LIBGL_", "GALLIUM_", "GALLIVM_", "LP_", "LVP_", "ST_DEBUG"),
    *("RADV_", "AMD_", "ACO_", "ANV_", "INTEL_", "NVK_", "NOUVEAU_", "TU_", "FD_", "PANVK_", "PAN_"),
    *("V3D", "ZINK_", "DRI_", "ENABLE_", "DISABLE_", "__NV", "__GL", "__VK", "NVIDIA_", "CUDA_"),
    *("MVK_", "METAL_", "MTL_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "VECLIB_", "NPY_"),
    *("MALLOC_", "GLIBC_TUNABLES", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_", "PYTHONPATH"),
)

# the fields of /proc/cpuinfo that identify a processor and what it can compute
PROCESSOR = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"),
    *("isa", "uarch"),
)


def parts(environ: Mapping[str, str]) -> dict[str, str]:
    """The parts of a key that hold for every spec on this machine."""
    return {
        "package": _own_code(),
        **{package: _installed(package) for package in PACKAGES},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "processor": processor(),
        "system": _system(),
        "vulkan": vulkan_files.shown(environ),
        "variables": "\n".join(variables(environ)),
    }


def variables(environ: Mapping[str, str]) -> list[str]:
    """`NAME=value` of the environment's variables that the libraries in a worker read."""
    return sorted(f"{name}={value}" for name, value in environ.items() if name.startswith(VARIABLES))


def processor(file: Path = Path("/proc/cpuinfo")) -> str:
    """The models of all cores and the instruction sets that they have."""
    try:
        lines = set(file.read_text("utf-8", "replace").splitlines())
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    pairs = (line.partition(":") for line in lines)
    known = {(name.strip(), value.strip()) for name, _, value in pairs if name.strip() in PROCESSOR}
    return "\n".join([platform.machine(), *(f"{name}: {value}" for name, value in sorted(known))])


def _system() -> str:
    """The C library on Linux, whose kernel computes nothing; elsewhere the system's release."""
    libc = ""
    with suppress(ValueError, OSError, AttributeError):
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    if platform.system() == "Linux":
        return f"Linux {libc}"
    return f"{platform.system()} {platform.release()} {platform.version()}"


def _installed(package: str) -> str:
    """A package's version, and a digest of its installer's record, which holds a hash of each file."""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return "not installed"
    return f"{distribution.version} {digests.of_texts([distribution.read_text('RECORD') or ''])}"


def _own_code() -> str:
    """A digest of this package's modules: a development checkout changes without its version."""
    folder = Path(__file__).parents[1]
    return digests.of_texts(_texts(folder, sorted(folder.rglob("*.py"))))


def _texts(folder: Path, paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        yield path.relative_to(folder).as_posix()
        yield path.read_text("utf-8")
