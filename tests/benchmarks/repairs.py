"""How well planted faults are found and fixed: `python tests/benchmarks/repairs.py`.

For each kind of fault and each seed a network is made (`kinds.py`), judged, and where it is red,
repaired. A row gives, for a kind: the share of networks with the right layers blamed, with nothing
else blamed, with masks that a run of the patched network proved, and with a minimal set of them (the
gate, on freshly loaded networks, is green with it, and red again with any one mask taken away, or
weakened to 31=1). Then what the search took: runs of a network on a sample, and seconds as a multiple
of the gate's own; and the seconds of the whole repair, with survey, proof and timing. `--compare`
counts the runs of two ways of doing it by hand as well: every layer masked, then one mask taken away
after the other; and bisection for the first and the last layer that need one.
Aims: 100 % in each share, no red case on the healthy networks, a median search under 3 gates.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import kinds

from pytest_ncnn_parity.engine.settings import Settings, share_of_cores
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network.masks import NO_FP16_ARITHMETIC, strong_mask
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.repair.find_fix import find_fix
from pytest_ncnn_parity.repair.fix import Fix, FixSettings
from pytest_ncnn_parity.repair.problem import find_problem
from pytest_ncnn_parity.repair.trials import SearchBudget, Trials
from pytest_ncnn_parity.spec import spec

HEAD = (
    "| fault | networks | right layer | nothing else | repaired, verified | minimal "
    "| masks | runs | search / gate | repair / gate | by hand: runs, masks | bisection: runs, masks |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass
class Measured:
    """One network. Shares are of networks for which the answer is True."""

    blamed: bool
    nothing_else: bool
    verified: bool
    minimal: bool
    masks: int = 0
    runs: int = 0
    search: float = 0.0  # seconds, as a multiple of the gate's
    repair: float = 0.0  # the same with survey, proof and timing
    by_hand: list[tuple[int, int]] = field(default_factory=list)  # runs, masks
    bisection: list[tuple[int, int]] = field(default_factory=list)


def measured(folder: Path, kind: str, seed: int, compare: bool) -> Measured:
    network = kinds.write(folder, kind, seed)
    plan = check.plan(spec.load(network.stem.with_suffix(".parity.yaml")))
    (comparison,) = plan.spec.comparisons
    cases = plan.cases(comparison)
    run = SpecRun(plan, Settings(120.0, share_of_cores(1)), dict.fromkeys(plan.spec.inputs, cases))
    try:
        start = time.perf_counter()
        red = {
            case.layer.name if case.layer else "output"
            for sample in plan.spec.inputs
            for case in cases
            if run.result(sample, case).outcome == "failed"
        }
        gate = time.perf_counter() - start
        layers = red - {"output"}
        healthy = not network.blamed  # without a red case there is nothing to repair
        measures = Measured(network.blamed <= red, layers <= network.blamed, healthy, healthy)
        if not red:
            return measures
        start = time.perf_counter()
        fix = find_fix(run, comparison, FixSettings(False, folder, folder, 1000, 600.0))
        measures.repair = (time.perf_counter() - start) / gate
        assert fix is not None
        measures.verified, measures.masks, measures.runs = fix.verified, len(fix.masks), fix.effort.runs
        measures.search = fix.effort.seconds / gate
        measures.minimal = fix.verified and is_minimal(run, fix)
        if compare:
            measures.by_hand, measures.bisection = [by_hand(run)], [bisection(run)]
        return measures
    finally:
        run.close()


def is_minimal(run: SpecRun, fix: Fix) -> bool:
    """Whether the whole gate is green with the masks, and red without any one of them, or its weaker."""
    if is_red(run, fix.masks):
        return False
    for name, mask in fix.masks.items():
        lesser = [{k: v for k, v in fix.masks.items() if k != name}]
        if mask != NO_FP16_ARITHMETIC:
            lesser.append({**fix.masks, name: NO_FP16_ARITHMETIC})
        if not all(is_red(run, masks) for masks in lesser):
            return False
    return True


def is_red(run: SpecRun, masks: Mapping[str, int]) -> bool:
    """Whether the gate is red on the network loaded with `masks`."""
    own = run.plan.spec.model_copy(update={"masks": dict(masks)})
    plan = Plan(own, run.plan.graph)
    (comparison,) = plan.spec.comparisons
    masked = SpecRun(plan, run.settings)
    try:
        return any(
            result.outcome == "failed"
            for sample in plan.spec.inputs
            for result in masked.judge(sample, plan.cases(comparison), probe=False)
        )
    finally:
        masked.close()


def unlimited(run: SpecRun) -> Trials:
    (comparison,) = run.plan.spec.comparisons
    return Trials(run, find_problem(run, comparison).cases, SearchBudget(100_000, 3600.0))


def _layers(run: SpecRun) -> list[int]:
    return [layer.number for layer in run.plan.masked.layers if layer.type != "Input"]


def by_hand(run: SpecRun) -> tuple[int, int]:
    """31=18 on every layer, then one mask taken away after the other where the network stays right."""
    trials = unlimited(run)
    (comparison,) = run.plan.spec.comparisons
    kept = dict.fromkeys(_layers(run), strong_mask(comparison.candidate))
    trials.holds(kept)
    for layer in list(kept):
        less = {number: mask for number, mask in kept.items() if number != layer}
        if trials.holds(less):
            kept = less
    return trials.budget.used, len(kept)


def bisection(run: SpecRun) -> tuple[int, int]:
    """The last layer from which on masks are enough, then the first up to which they are."""
    trials = unlimited(run)
    (comparison,) = run.plan.spec.comparisons
    strong = strong_mask(comparison.candidate)
    layers = _layers(run)

    def holds(first: int, end: int) -> bool:
        return trials.holds(dict.fromkeys(layers[first:end], strong))

    low, high = 0, len(layers)  # masks from `low` on hold, from `high` on they do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle, len(layers)) else (low, middle)
    first, high = low, len(layers)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(first, middle) else (middle, high)
    return trials.budget.used, high - first


def rows(args: argparse.Namespace, folder: Path) -> Iterator[str]:
    every: list[Measured] = []
    for kind in args.kinds:
        networks = []
        for seed in range(args.seeds):
            one = measured(folder, kind, seed, args.compare)
            networks.append(one)
            if not (one.blamed and one.nothing_else and one.verified and one.minimal):
                print(f"{kind} {seed}: {one}", file=sys.stderr, flush=True)
        yield row(kind, networks)
        every += [one for one in networks if kind != "healthy"]
    if every:
        yield row("all with a fault", every)


def row(name: str, networks: Sequence[Measured]) -> str:
    repaired = [one for one in networks if one.runs]
    cells = [name, str(len(networks))]
    for answers in (
        [one.blamed for one in networks],
        [one.nothing_else for one in networks],
        [one.verified for one in networks],
        [one.minimal for one in networks],
    ):
        cells.append(f"{100 * sum(answers) / len(answers):.0f} %")
    cells += [_median([one.masks for one in repaired]), _median([one.runs for one in repaired])]
    cells += [_median([one.search for one in repaired]), _median([one.repair for one in repaired])]
    for way in (
        [t for one in networks for t in one.by_hand],
        [t for one in networks for t in one.bisection],
    ):
        cells.append(", ".join(_median([pair[i] for pair in way]) for i in (0, 1)) if way else "")
    return f"| {' | '.join(cells)} |"


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g}" if values else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=kinds.FAULTS, default=list(kinds.FAULTS))
    parser.add_argument("--seeds", type=int, default=10, help="networks of each kind")
    parser.add_argument("--compare", action="store_true", help="count the runs of the ways by hand, too")
    args = parser.parse_args()
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-bench-") as folder:
        for line in rows(args, Path(folder)):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
