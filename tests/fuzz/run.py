"""Fuzz the gate: python tests/fuzz/run.py --seeds 1 --collect 5000 --engine 300 [--keep DIR]

Every example is made from its seed by Hypothesis. What must not happen is kept in --keep, and
the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "example_models"), str(Path(__file__).parent)]

import judge  # noqa: E402
import mutate  # noqa: E402

PER_PROCESS = 250  # specs that one pytest collects
PER_RUN = 20  # specs that one pytest runs


def drawn(count: int, number: int, healthy: list[tuple[bytes, bytes]]) -> list[mutate.Made]:
    """`count` examples from the seed `number`."""
    examples: list[mutate.Made] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(mutate.examples(healthy))
    def draw(example: mutate.Made) -> None:
        examples.append(example)

    draw()
    return examples


class Fuzz:
    """The counts and the finds of a session."""

    def __init__(self, keep: Path | None) -> None:
        self.counts: Counter[str] = Counter()
        self.finds: list[str] = []
        self._keep = keep

    def collect(self, examples: list[mutate.Made]) -> Iterator[tuple[mutate.Made, str]]:
        """Each example with what its collection came to, in this process."""
        with tempfile.TemporaryDirectory(prefix="ncnn-parity-fuzz-") as name:
            folder = Path(name)
            judge.beside(folder)
            for example in examples:
                path = example.write(folder)
                try:
                    outcome = judge.collect(path, folder)
                except Exception as error:  # any error is a find
                    outcome = "find"
                    self._found(f"{type(error).__name__}: {error}", [example])
                self.counts[f"collect: {outcome}"] += 1
                yield example, outcome

    def in_pytest(self, examples: list[tuple[mutate.Made, str]]) -> None:
        """Collect examples in pytest processes, many in each."""
        for start in range(0, len(examples), PER_PROCESS):
            part = examples[start : start + PER_PROCESS]
            wrong = sum(outcome == "refused" for _, outcome in part)
            self._ask([example for example, _ in part], partial(judge.collected, wrong=wrong))
            self.counts["collected by pytest"] += len(part)

    def engine(self, examples: list[mutate.Made]) -> None:
        """Run examples, a few in each pytest process."""
        for start in range(0, len(examples), PER_RUN):
            part = examples[start : start + PER_RUN]
            self._ask(part, lambda folder: self.counts.update(judge.verdicts(folder, 900.0)))
            self.counts["run by the engine"] += len(part)
            print(f"  {start + len(part)} of {len(examples)} run", file=sys.stderr, flush=True)

    def _ask(self, part: list[mutate.Made], ask: Callable[[Path], None]) -> None:
        """Ask of examples in one folder, each in its own of that."""
        with tempfile.TemporaryDirectory(prefix="ncnn-parity-fuzz-") as name:
            for number, example in enumerate(part):
                own = Path(name) / f"n{number}"
                own.mkdir()
                judge.beside(own)
                example.write(own)
            try:
                ask(Path(name))
            except judge.Find as find:
                self._found(str(find), part)

    def _found(self, what: str, examples: list[mutate.Made]) -> None:
        self.finds.append(what)
        print(f"FIND {len(self.finds)}: {what}", flush=True)
        for number, example in enumerate(examples if self._keep else ()):
            folder = self._keep / f"find-{len(self.finds)}" / str(number)  # type: ignore[operator]
            folder.mkdir(parents=True, exist_ok=True)
            example.write(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--collect", type=int, default=5000, help="examples to collect, by seed")
    parser.add_argument("--engine", type=int, default=300, help="examples to run, by seed")
    parser.add_argument("--keep", type=Path, help="where to keep what is found")
    asked = parser.parse_args()
    fuzz = Fuzz(asked.keep)
    with tempfile.TemporaryDirectory() as name:
        healthy = mutate.models(Path(name))
    for number in range(asked.first, asked.first + asked.seeds):
        judged = list(fuzz.collect(drawn(asked.collect, number, healthy)))
        fuzz.in_pytest(judged[: len(judged) // 5])
        runnable = [example for example, outcome in judged if outcome == "planned"]
        fuzz.engine(runnable[: asked.engine])
    for name, count in sorted(fuzz.counts.items()):
        print(f"{count:6} {name}")
    print(f"{len(fuzz.finds):6} finds")
    return 1 if fuzz.finds else 0


if __name__ == "__main__":
    sys.exit(main())
