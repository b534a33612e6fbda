"""Many specs in one run, with a crash in every tenth: `python tests/benchmarks/soak.py --specs 200`.

What must hold at the end: every verdict is right, and no process and no file of the run is left;
exit status 1 where it does not. Prints how much memory pytest's objects held as well: what grows is
what it and the report keep of each case. A smaller one is a test, which bounds that.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from pytest_ncnn_parity.engine import descendants

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "example_models")]
networks = importlib.import_module("networks")  # of the tests

CRASHES_EVERY = 10
LAYERS = 12  # of each network, so that results kept for nothing would show
CASES = 2 * (LAYERS + 1) + 1  # of each spec
MASKED = 3  # the layer of a crashing network that has 31=2: its shader does not compile

SPEC = """\
inputs: {noise: {in0: {random: normal, seed: SEED}}}
compare: [fp16-vs-fp32-vulkan, fp16-range]
"""
# after each spec, how much memory the objects hold that the process which reports has not let go;
# what the system counts for it rises and falls by MiB, as freed memory is given back or not
CONFTEST = """\
import gc, tracemalloc

tracemalloc.start()
last = None

def pytest_runtest_logreport(report):
    global last
    spec = report.nodeid.partition("::")[0]
    if report.when == "teardown" and spec != last:
        last = spec
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        with open("memory.txt", "a") as held_file:
            held_file.write(f"{held / 1024:.1f}\\n")
"""


@dataclass(frozen=True)
class Soaked:
    """`wrong` names what is not as it must be; `kib` holds the memory after each spec."""

    wrong: tuple[str, ...]
    kib: tuple[float, ...]
    seconds: float

    @property
    def growth(self) -> float:
        """The median of what a spec added, in KiB.

        A module that is imported when it is first needed adds some MiB once.
        """
        return median(after - before for before, after in pairwise(self.kib))


def soak(folder: Path, specs: int) -> Soaked:
    """Run `specs` specs in `folder`, which is empty."""
    temporary = folder / "temporary"
    temporary.mkdir()
    (folder / "conftest.py").write_text(CONFTEST, "utf-8")
    for number in range(specs):
        name = f"net{number:03}"
        networks.convolutions(folder, LAYERS, {MASKED: 2} if crashes(number) else {}, name)
        networks.spec(folder, SPEC.replace("SEED", str(number)), name)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ncnn-parity"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--ncnn-parity-fix=off", "--ncnn-parity-json=report.json"],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    wrong = [f"left behind: {what}" for what in (*descendants.below(temporary), *temporary.iterdir())]
    if done.returncode != 1:
        wrong.append(f"exit status {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    else:
        wrong += _wrong_verdicts(json.loads((folder / "report.json").read_text("utf-8")), specs)
    kib = (folder / "memory.txt").read_text("utf-8").split()
    return Soaked(tuple(wrong), tuple(map(float, kib)), seconds)


def crashes(number: int) -> bool:
    return number % CRASHES_EVERY == 1


def _wrong_verdicts(report: dict, specs: int) -> Iterator[str]:
    if len(report["models"]) != specs:
        yield f"{len(report['models'])} specs in the report"
    for number, model in enumerate(report["models"]):
        fp16 = "fp16-vs-fp32-vulkan"
        expected = {(fp16, f"c{MASKED}"), (fp16, None)} if crashes(number) else set()
        red = {(c["comparison"], c["layer"]) for c in model["cases"] if c["outcome"] == "failed"}
        if red != expected:
            yield f"{model['spec']}: red are {red}, expected {expected}"
        if len(model["cases"]) != CASES:
            yield f"{model['spec']}: {len(model['cases'])} cases"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--specs", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-soak-") as folder:
        soaked = soak(Path(folder), asked.specs)
    first, middle, last = soaked.kib[0], soaked.kib[len(soaked.kib) // 2], soaked.kib[-1]
    print(
        f"{asked.specs} specs in {soaked.seconds:.0f} s; pytest held {first} KiB after the first, "
        f"{middle} after half, {last} after the last: {soaked.growth:.1f} KiB a spec"
    )
    for what in soaked.wrong:
        print(what, file=sys.stderr)
    return 1 if soaked.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
