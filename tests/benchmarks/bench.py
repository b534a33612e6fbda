"""What a gate costs, as ratios within one run: `python tests/benchmarks/bench.py`.

Four questions. A whole gate over each real network (cpu-vs-vulkan, fp16-vs-fp32; the command a
user types), against `by_hand.py`, the script an engineer would write in its place: how much longer
does it take (1), and how much memory do both hold at their peak (3)? 10,000 cases over a network
that computes next to nothing, collected and run, against 10,000 empty pytest items: what does a
case cost (2)? A search for masks on a large network, against the gate on it: what does it cost (4)?
Both sides are whole processes on the same seeded inputs, run in turns after a first, uncounted one
that fills the shader cache; a ratio is taken within each round, and its median is the answer. Only
ratios mean something, and on a busy machine those of processor time and of the least. The script
runs without spinning threads (`--as-typed`: with them), for theirs are no merit of ours. Memory is
the sum of the proportional set sizes (Linux) of a process and its children. The real networks are
not part of the project (`--models` says where they are); without them only (2), (4) and what is asked
of the large network are measured.
Never a test: nothing fails on a slow machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import decoder
import gates
import large
import many
from process import HEAD, BenchmarkError, Ratio, Taken, alternate

MODELS = Path(__file__).parents[3] / "shared" / "models"
QUESTIONS = ("time", "cases", "memory", "search")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the networks")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement")
    parser.add_argument("--cases", type=int, default=10_000, help="cases of the second question")
    parser.add_argument("--only", choices=QUESTIONS, nargs="+", default=QUESTIONS)
    parser.add_argument("--as-typed", action="store_true", help="let the script's threads spin")
    parser.add_argument("--networks", nargs="+", default=[n.name for n in gates.NETWORKS])
    return parser.parse_args()


def gate_rows(args: argparse.Namespace, folder: Path) -> Iterator[Ratio]:
    """Time and memory of a gate, network by network."""
    for network in gates.NETWORKS:
        if network.name not in args.networks or not {"time", "memory"} & set(args.only):
            continue
        models = folder if network.made else args.models
        if network.made:
            decoder.write(folder)
        if not all(file.is_file() for file in gates.files(network, models)):
            print(f"{network.name}: not in {models}, left out", file=sys.stderr)
            continue
        ours = gates.ours(network, models, folder)
        theirs = gates.theirs(network, models, folder, args.as_typed)
        alternate(ours.seconds, theirs.seconds, 1)  # fills the shader cache
        if "time" in args.only:
            took = alternate(ours.seconds, theirs.seconds, args.rounds)
            yield from _times(f"gate, {network.name}", *took)
        if "memory" in args.only:
            held = alternate(ours.peak, theirs.peak, max(1, args.rounds // 2))
            yield Ratio(f"peak memory, {network.name}", "MiB", *held, "below 1")


def case_rows(args: argparse.Namespace, folder: Path) -> Iterator[Ratio]:
    """What cases cost pytest, and how much of it is the engine's."""
    if "cases" not in args.only:
        return
    cases = args.cases - args.cases % many.SAMPLES
    many.write(folder, cases)
    sides = [side(folder, cases) for side in (many.ours, many.theirs, many.engine)]
    took = [[side.seconds() for side in sides] for _ in range(args.rounds)]
    whole, empty, alone = (list(side) for side in zip(*took, strict=True))
    yield from _times(f"{cases:,} cases", whole, empty, "at most 1.2")
    # pytest and the engine run side by side, so of the clock this takes off more than it should
    rest = [
        Taken(all_.clock - own.clock, all_.processor - own.processor)
        for all_, own in zip(whole, alone, strict=True)
    ]
    yield from _times(f"{cases:,} cases, the engine's taken off", rest, empty, "")


def search_rows(args: argparse.Namespace, folder: Path) -> Iterator[Ratio]:
    """What a search takes on a large network."""
    if "search" in args.only:
        yield large.row(folder, max(1, args.rounds // 2))


def _times(
    what: str, ours: Sequence[Taken], theirs: Sequence[Taken], aim: str = "at most 1.0"
) -> Iterator[Ratio]:
    yield Ratio(what, "s", [t.clock for t in ours], [t.clock for t in theirs], aim)
    own, other = ([t.processor for t in side] for side in (ours, theirs))
    yield Ratio(f"{what}, processor time", "s", own, other, "")


def main() -> int:
    args = arguments()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it each process would compile all of ours
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory(prefix="ncnn-parity-bench-") as folder:
        try:
            for rows in (gate_rows, case_rows, search_rows):
                for ratio in rows(args, Path(folder)):
                    print(ratio.row(), flush=True)
        except BenchmarkError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
