"""What must hold of any example, however wrong: an error for its user, or verdicts that compared."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import spec

SECONDS = 20  # for what takes milliseconds
MEMORY = 12 << 30  # of address space; llvmpipe alone takes a few GiB


class Find(AssertionError):
    """Something that must not be."""


def beside(folder: Path) -> None:
    """The files that mutated specs name, good and bad."""
    np.save(folder / "in.npy", np.zeros(8, np.float32))
    np.save(folder / "nan.npy", np.full(8, np.nan, np.float32))
    np.save(folder / "pickle.npy", np.array([{}], object), allow_pickle=True)
    np.savez(folder / "in.npz", a=np.zeros(8, np.float32))
    (folder / "cut.npz").write_bytes((folder / "in.npz").read_bytes()[:100])
    head = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999,), }"
    )
    (folder / "huge.npy").write_bytes(head.ljust(127) + b"\n")
    Image.new("RGBA", (8, 8)).save(folder / "in.png")
    (folder / "cut.png").write_bytes((folder / "in.png").read_bytes()[:40])
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")


def collect(path: Path, root: Path) -> str:
    """`planned` or `refused`; Find where it comes to neither a plan nor errors with places."""
    with _in_time(str(path)):
        try:
            plan = check.plan(spec.load(path, root), root=root)
        except ParityError as error:
            _well_said(str(error), root)
            return "refused"
        _well_named(plan)
    return "planned"


def _well_said(text: str, root: Path) -> None:
    for line in text.split("\n"):
        if not line.isprintable() or len(line) > 2000:
            raise Find(f"not to be printed: {line!r}")
        if not line.startswith(f"{root}/") and line != "... and more":
            raise Find(f"an error without its file: {line}")
    if "Traceback" in text or "internal" in text:
        raise Find(text)


def _well_named(plan: Plan) -> None:
    for comparison in plan.spec.comparisons:
        names = [case.name for case in plan.cases(comparison)]
        if len(set(names)) != len(names) or any(
            "::" in n or not n.isprintable() or not n for n in names
        ):
            raise Find(f"names of cases: {names}")


@contextmanager
def _in_time(what: str) -> Iterator[None]:
    def late(*_: object) -> None:
        raise Find(f"{what}: took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(folder: Path, *args: str, seconds: float) -> tuple[int, str]:
    """pytest on `folder`, in bounded memory: its exit code and what it printed."""
    command = (sys.executable, "-m", "pytest", "--ncnn-parity", "-p", "no:cacheprovider", "-q", *args)
    started = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            timeout=seconds,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        )
    except subprocess.TimeoutExpired:
        raise Find(f"{folder}: pytest had not ended after {time.monotonic() - started:.0f} s") from None
    printed = (done.stdout + done.stderr).decode("utf-8", "replace")
    for word in ("INTERNALERROR", "Traceback (most recent", "internal error in the worker"):
        if word in printed:
            raise Find(f"{folder}: {word}:\n{_around(printed, word)}")
    return done.returncode, printed


def _around(text: str, word: str) -> str:
    at = text.index(word)
    return text[max(0, at - 500) : at + 3000]


def collected(folder: Path, wrong: int) -> None:
    """A real collection of `folder`, in which `wrong` specs are wrong."""
    code, printed = run(folder, "--collect-only", "-q", seconds=600)
    if code != (2 if wrong else 0) and not (code == 5 and not wrong):
        raise Find(f"{folder}: exit status {code} with {wrong} wrong specs:\n{printed[-2000:]}")
    refused = len(re.findall(r"^ERROR .*\.parity\.yaml", printed, re.MULTILINE))
    if refused != wrong:
        raise Find(f"{folder}: {refused} of {wrong} wrong specs are reported")


def verdicts(folder: Path, seconds: float) -> Counter[str]:
    """A real run of `folder`: how many cases ended how."""
    report = folder / "report.json"
    options = ("--ncnn-parity-timeout=10", "--ncnn-parity-fix-runs=5", "--ncnn-parity-fix-seconds=3")
    code, printed = run(folder, f"--ncnn-parity-json={report}", *options, seconds=seconds)
    if code not in (0, 1):
        raise Find(f"{folder}: exit status {code}:\n{printed[-2000:]}")
    cases = [case for model in _strict(report)["models"] for case in model["cases"]]
    _compared(cases)
    outcomes = Counter(case["outcome"] for case in cases)
    printed_counts = {
        word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped)", printed)
    }
    if {k: v for k, v in outcomes.items() if v} != printed_counts:
        raise Find(f"{folder}: pytest counts {printed_counts}, the report {dict(outcomes)}")
    causes = Counter(f"failed: {case['cause']}" for case in cases if case["outcome"] == "failed")
    return outcomes + causes


def _strict(path: Path) -> Any:
    def refuse(word: str) -> None:
        raise Find(f"{path}: {word} is no JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def _compared(cases: Iterable[dict[str, Any]]) -> None:
    for case in cases:
        metrics = case["metrics"] or {}
        if case["outcome"] == "passed" and not metrics.get("total"):
            raise Find(f"{case['nodeid']} passed and compared nothing")
