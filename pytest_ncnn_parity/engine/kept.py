"""Keeps a spec's results for later runs, and gives back those that earlier runs have kept.

The unit is a comparison of a sample, for its cases are judged in view of each other: it is kept when all
of its cases came to a result that may be kept, and is then used for any part of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.cache.verdicts import Cache
from pytest_ncnn_parity.compare.comparisons import Comparison
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.engine.protocol import Result, encode_result
from pytest_ncnn_parity.plan.cases import Case, Plan

T = TypeVar("T")

Run = Callable[[Sequence[str]], Iterator[Result]]

# its subject, where other entries name a comparison, and its text
NO_DOUBT = "no doubt in the reference", "[]"


@dataclass(frozen=True)
class Kept:
    """A comparison of a sample: its results, and what the worker that had them said of itself."""

    results: tuple[Result, ...]
    environment: Mapping[str, str]
    devices: tuple[Mapping[str, str], ...]


@cache
def _adapter() -> TypeAdapter[Kept]:
    return TypeAdapter(Kept)


def may_be_kept(result: Result) -> bool:
    """Whether a later run would give the same `result` if nothing in the key has changed.

    Not what is red, nor a skip that another fault, the lack of a device or its limits have caused.
    """
    if result.outcome == "passed":
        return not result.evidence.dropped
    return result.outcome == "skipped" and result.evidence.lasting


class KeptResults:
    """The kept results of one spec. `cache` None: nothing is kept, and nothing was."""

    def __init__(self, cache: Cache | None, plan: Plan, engine: Engine) -> None:
        self._cache = cache
        self._plan = plan
        self._engine = engine
        self._known: dict[tuple[str, str], Mapping[str, Result]] = {}

    def has_any(self, sample: str | None, cases: Iterable[Case]) -> bool:
        """Whether any of `cases` needs no run."""
        names = dict.fromkeys(case.comparison.name for case in cases)
        return sample is not None and any(self._of(sample, name) for name in names)

    def run(
        self, sample: str, cases: Sequence[Case], waiting: Sequence[str], run: Run
    ) -> Iterator[Result]:
        """The results of those cases of `sample` that are `waiting`; `run` gives those not kept."""
        if self._cache is None:
            yield from run(waiting)
            return
        by_id = {case.id: case.comparison for case in cases}
        comparisons = {by_id[case_id].name: by_id[case_id] for case_id in waiting}
        kept: dict[str, Result] = {}
        for name in comparisons:
            kept.update(self._of(sample, name))
        yield from (kept[case_id] for case_id in waiting if case_id in kept)
        left = [case_id for case_id in waiting if case_id not in kept]
        if not left:
            return
        awaited = Counter(by_id[case_id].name for case_id in left)
        fresh: dict[str, dict[str, Result]] = {name: {} for name in awaited}
        for result in run(left):
            name = by_id[result.id].name
            fresh[name][result.id] = result
            if len(fresh[name]) == awaited[name]:
                self._keep(sample, comparisons[name], fresh[name])
            yield result

    def answer(self, kind: str, answer: type[T], work_out: Callable[[], T | None]) -> T | None:
        """The value of `work_out`, of type `answer`, or the one that was kept with these verdicts."""
        if self._cache is None:
            return work_out()
        text = self._cache.get(self._plan, "", kind)
        if text is not None:
            try:
                return TypeAdapter(answer).validate_json(text)
            except ValidationError:
                pass
        value = work_out()
        worker = self._engine.pid
        if value is not None and worker is not None and self._whole():
            self._cache.put(self._plan, "", kind, strict_json.line(value), worker)
        return value

    def doubtful(self, sample: str, work_out: Callable[[], list[T] | None]) -> list[T] | None:
        """The layers of the reference that `work_out` doubts on `sample`; a doubt is not kept.

        That there is none does not hang on verdicts: it is kept whatever they are.
        """
        subject, text = NO_DOUBT
        if self._cache is None:
            return work_out()
        if self._cache.get(self._plan, sample, subject) == text:
            return []
        doubtful = work_out()
        worker = self._engine.pid
        if doubtful == [] and worker is not None:
            self._cache.put(self._plan, sample, subject, text, worker)
        return doubtful

    def _whole(self) -> bool:
        """Whether every comparison of every sample is kept."""
        spec = self._plan.spec
        return all(self._of(sample, one.name) for sample in spec.inputs for one in spec.comparisons)

    def _of(self, sample: str, comparison: str) -> Mapping[str, Result]:
        """The kept results by case id; none where they are not kept."""
        key = (sample, comparison)
        if key not in self._known:
            self._known[key] = {}
            text = None if self._cache is None else self._cache.get(self._plan, sample, comparison)
            if text is not None:
                self._learn(key, text)
        return self._known[key]

    def _learn(self, key: tuple[str, str], text: str) -> None:
        try:
            kept = _adapter().validate_json(text)
        except ValidationError:
            return  # nothing was kept
        if all(map(may_be_kept, kept.results)):
            self._engine.learn(kept.environment, kept.devices)
            self._known[key] = {result.id: result for result in kept.results}

    def _keep(self, sample: str, comparison: Comparison, results: Mapping[str, Result]) -> None:
        worker = self._engine.pid
        if self._cache is None or worker is None or not all(map(may_be_kept, results.values())):
            return
        if comparison.workers:
            return  # the key describes this machine only: the worker may have another ncnn the next time
        plan = self._plan
        recorded = comparison.of_recordings
        every = plan.goldens(sample, comparison) if recorded else plan.cases(comparison, sample)
        if {case.id for case in every} != results.keys():
            return  # only a part was selected, and another part may be red
        if any(plan.known(sample, case) is not None for case in every):
            return  # for a strict known failure, passing is red
        now = datetime.now(timezone.utc).isoformat("T", "seconds")
        dated = {case_id: replace(result, cached=now) for case_id, result in results.items()}
        text = strict_json.line(
            {
                "results": [encode_result(result) for result in dated.values()],
                "environment": self._engine.environment,
                "devices": self._engine.devices,
            }
        )
        self._cache.put(plan, sample, comparison.name, text, worker)
        self._known[sample, comparison.name] = dated
