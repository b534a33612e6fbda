"""Creates an emulated ARM64 Python with ncnn in a folder, for a worker; needs no root.

Nothing is installed on the system.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from pytest_ncnn_parity.base.errors import ParityError, cut

# the programs this needs, and the Debian packages that contain them
NEEDED = {"qemu-aarch64": "qemu-user", "apt-get": "apt", "dpkg": "dpkg"}
PACKAGES = ("python3", "libstdc++6")  # for ARM64; their dependencies are added
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_28_aarch64")
CPU = "cortex-a76"  # it has fp16 arithmetic, and its emulation is as fast as any other's
MADE = "made"  # the file that says what the folder contains; its text is written last
SECONDS = 600.0  # the limit for one command
WHY = 300  # the number of characters shown of a failed command's output
NO_SOURCE = "no source of this system has any"
ELSEWHERE = "docs/workers.md says what else there is"

# -0 sets sys.executable to this script, so that processes that Python starts are emulated as well
SCRIPT = """\
#!/bin/sh
exec {qemu} -0 {script} -cpu "${{ARM_CPU:-{cpu}}}" -L {root} -E LD_LIBRARY_PATH= \\
    -E PYTHONHOME={root}/usr -E PYTHONPATH={site} {root}/usr/bin/{python} "$@"
"""


class NotMade(ParityError):
    """The Python could not be created; the text says what is missing or which command failed."""


def make(folder: Path, ncnn: str | None = None) -> Path:
    """Return the path of the emulated Python in `folder`, which is created if it does not exist yet.

    `ncnn`: the version of ncnn to install, by default that of this Python. Raises NotMade if it cannot
    be created.
    """
    ncnn = ncnn or metadata.version("ncnn")
    script = folder / "python"
    if _says(folder) == ncnn and script.exists():
        return script
    _refuse_what_lacks()
    if folder.exists() and not folder.is_dir():
        raise NotMade(f"{folder} exists and is not a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MADE).exists():
        raise NotMade(f"{folder} contains other files: name a new or an empty folder")
    try:
        _make(folder, ncnn)
    except OSError as error:
        raise NotMade(f"{error.filename or folder}: {error.strerror}") from None
    return script


def _says(folder: Path) -> str | None:
    """The version of ncnn in `folder`, or None if the folder is not complete."""
    try:
        return (folder / MADE).read_text("utf-8").strip()
    except OSError:
        return None


def _refuse_what_lacks() -> None:
    if importlib.util.find_spec("pip") is None:
        raise NotMade(
            f"{sys.executable} has no pip, which downloads ncnn: {sys.executable} -m ensurepip"
        )
    lacking = {name: package for name, package in NEEDED.items() if shutil.which(name) is None}
    if not lacking:
        return
    what = f"there is no {', '.join(lacking)} on {platform.system()}"
    if lacking.keys() == {"qemu-aarch64"}:
        raise NotMade(f"{what}: apt-get install {lacking['qemu-aarch64']}")
    raise NotMade(f"{what}; this works on Debian and systems derived from it, and {ELSEWHERE}")


def _make(folder: Path, ncnn: str) -> None:
    apt, root, site = folder / "apt", folder / "root", folder / "site"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MADE).write_text("", "utf-8")  # from now on, everything in this folder is ours
    for old in (apt, root, site):
        shutil.rmtree(old, ignore_errors=True)
    for new in (apt / "lists" / "partial", apt / "cache" / "archives" / "partial", root):
        new.mkdir(parents=True)
    (apt / "status").touch()
    own = _apt(apt)
    unlisted = "the packages for ARM64 could not be listed"
    said = _run([*own, "update"], unlisted)  # apt-get only warns about a source that it cannot reach
    if not any((apt / "lists").glob("*Packages*")):
        raise NotMade(f"{unlisted}: {cut(_why(said) or NO_SOURCE, WHY)}")
    _run([*own, "-y", "-d", "install", *PACKAGES], "Python for ARM64 could not be downloaded")
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(root)], f"{package.name} could not be unpacked")
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")  # on newer Debian, base-files contains this link
    pythons = [one.name for one in (root / "usr" / "bin").glob("python3.*")]
    python = next((name for name in pythons if re.fullmatch(r"python3\.\d+", name)), None)
    if python is None:
        raise NotMade("the packages that were unpacked hold no python3.N")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    pip += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python[6:]}"]
    pip += [f"--platform={one}" for one in PLATFORMS]
    _run([*pip, f"ncnn=={ncnn}"], f"ncnn {ncnn} for {python} on ARM64 could not be downloaded")
    script = folder / "python"
    places = {name: shlex.quote(str(path)) for name, path in (("root", root), ("site", site))}
    qemu = shlex.quote(str(shutil.which("qemu-aarch64")))
    text = SCRIPT.format(qemu=qemu, script=shlex.quote(str(script)), cpu=CPU, python=python, **places)
    script.write_text(text, "utf-8")
    script.chmod(0o755)
    _run([str(script), "-c", "import ncnn; ncnn.Net()"], "the emulated Python does not run")
    shutil.rmtree(apt)
    (folder / MADE).write_text(f"{ncnn}\n", "utf-8")


def _apt(folder: Path) -> list[str]:
    """An apt-get command that keeps all its state in `folder` and uses only this system's sources."""
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "Dir::State": folder,
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Debug::NoLocking": 1,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
    }
    return ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]


def _run(command: Sequence[str], failed: str) -> list[str]:
    """Run `command` and return the lines it prints.

    Raises NotMade, with `failed` and the reason, if it fails or takes longer than SECONDS.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NotMade(f"{failed}: {command[0]} took more than {SECONDS:g} s") from None
    said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    if done.returncode != 0:
        last = said[-1] if said else f"exit status {done.returncode}"
        raise NotMade(f"{failed}: {cut(_why(said) or last, WHY)}")
    return said


def _why(said: Sequence[str]) -> str | None:
    """The line in which apt-get or pip says what went wrong, or None."""
    for sign in ("E:", "ERROR:", "W:"):
        for line in said:
            if line.startswith(sign):
                return line
    return None
