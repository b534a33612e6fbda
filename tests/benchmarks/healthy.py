"""Whether healthy networks stay green, rule by rule: `python tests/benchmarks/healthy.py`.

For each rule of docs/judging.md and each seed a network is made that a plain comparison would take
for wrong (`kinds.CONTROLS`), and judged in fp32 and fp16 on Vulkan and for the range of fp16. A row
says how many are green, and how many of their cases compared something.
Aim: 100 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import kinds

from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.settings import Settings, share_of_cores
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec

HEAD = "| rule | networks | green | cases | compared |\n|---|---|---|---|---|"


def results(folder: Path, kind: str, seed: int) -> list[Result]:
    """All results of one network, in all comparisons and samples."""
    network = kinds.write(folder, kind, seed)
    plan = check.plan(spec.load(network.stem.with_suffix(".parity.yaml")))
    cases = [case for comparison in plan.spec.comparisons for case in plan.cases(comparison)]
    run = SpecRun(plan, Settings(120.0, share_of_cores(1)), dict.fromkeys(plan.spec.inputs, cases))
    try:
        return [run.result(sample, case) for sample in plan.spec.inputs for case in cases]
    finally:
        run.close()


def row(folder: Path, kind: str, seeds: int) -> str:
    green, cases, compared = 0, 0, 0
    for seed in range(seeds):
        judged = results(folder, kind, seed)
        red = [result for result in judged if result.outcome == "failed"]
        for result in red:
            what = result.metrics and result.metrics.failed
            print(
                f"{kind} {seed}: {result.id}: {what} {result.evidence.death}",
                file=sys.stderr,
                flush=True,
            )
        green += not red
        cases += len(judged)
        compared += sum(result.outcome != "skipped" for result in judged)
    return f"| {kind} | {seeds} | {100 * green / seeds:.0f} % | {cases} | {compared} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=kinds.CONTROLS, default=list(kinds.CONTROLS))
    parser.add_argument("--seeds", type=int, default=10, help="networks of each kind")
    args = parser.parse_args()
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-bench-") as folder:
        for kind in args.kinds:
            print(row(Path(folder), kind, args.seeds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
