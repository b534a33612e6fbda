"""Keeps a spec's results for later runs and returns those that earlier runs kept.

The unit is one comparison of one sample, because its cases are judged together. It is kept if every case
of it has a result that may be kept, and then serves any subset of these cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.cache.verdicts import Cache
from pytest_ncnn_parity.compare.comparisons import Comparison
from pytest_ncnn_parity.engine.client import Engine
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.wire import encode_result
from pytest_ncnn_parity.plan.cases import Case, Plan

T = TypeVar("T")

Run = Callable[[Sequence[str]], Iterator[Result]]

# the entry's subject, where other entries have a comparison's name, and its text
NO_DOUBT = "no doubt in the reference", "[]"


class Kept(Frozen):
    """The results of one comparison of a sample, and what the worker reported about itself."""

    results: tuple[Result, ...]
    environment: Mapping[str, str]
    devices: tuple[Mapping[str, str], ...]


@cache
def _adapter() -> TypeAdapter[Kept]:
    return TypeAdapter(Kept)


def may_be_kept(result: Result) -> bool:
    """Whether a later run would give the same `result` as long as nothing in the cache key changes.

    This excludes failures, and skips that were caused by another fault or by a missing or limited
    device.
    """
    if result.outcome == "passed":
        return not result.evidence.dropped
    return result.outcome == "skipped" and result.evidence.lasting


class KeptResults:
    """The kept results of one spec. If `cache` is None, nothing is kept or read."""

    def __init__(self, cache: Cache | None, plan: Plan, engine: Engine) -> None:
        self._cache = cache
        self._plan = plan
        self._engine = engine
        self._known: dict[tuple[str, str], Mapping[str, Result]] = {}
        self.holds_result = False  # whether `run` yields a kept result next

    def run(
        self, sample: str, cases: Sequence[Case], waiting: Sequence[str], run: Run
    ) -> Iterator[Result]:
        """Yield the results of the `waiting` cases of `sample`; `run` provides those not kept."""
        if self._cache is None:
            yield from run(waiting)
            return
        by_id = {case.id: case.comparison for case in cases}
        comparisons = {by_id[case_id].name: by_id[case_id] for case_id in waiting}
        kept: dict[str, Result] = {}
        for name in comparisons:
            kept.update(self._of(sample, name))
        ready = [kept[case_id] for case_id in waiting if case_id in kept]
        try:
            for number, result in enumerate(ready, 1):
                self.holds_result = number < len(ready)
                yield result
        finally:  # whoever takes the results may be interrupted
            self.holds_result = False
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
        """Return the answer of type `answer` that was kept with these results, or else `work_out()`.

        A new answer is kept if all results of the spec are.
        """
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
        """Return the layers of the reference that `work_out` doubts on `sample`; doubts are not kept.

        An empty list depends on no verdict, so it is kept whatever the verdicts are.
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
        """The kept results of a comparison by case id; empty if they are not kept."""
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
            self._engine.facts.learn(kept.environment, kept.devices)
            self._known[key] = {result.id: result for result in kept.results}

    def _keep(self, sample: str, comparison: Comparison, results: Mapping[str, Result]) -> None:
        worker = self._engine.pid
        if self._cache is None or worker is None or not all(map(may_be_kept, results.values())):
            return
        if comparison.workers:
            return  # the key describes this machine only, and the worker may have another ncnn next time
        plan = self._plan
        every = plan.cases(comparison, sample)
        if {case.id for case in every} != results.keys():
            return  # only some cases were selected, and others may be red
        if any(plan.known(sample, case) is not None for case in every):
            return  # for a strict known failure, passing is red
        now = datetime.now(timezone.utc).isoformat("T", "seconds")
        dated = {case_id: replace(result, cached=now) for case_id, result in results.items()}
        text = strict_json.line(
            {
                "results": [encode_result(result) for result in dated.values()],
                "environment": self._engine.facts.versions,
                "devices": self._engine.facts.devices,
            }
        )
        self._cache.put(plan, sample, comparison.name, text, worker)
        self._known[sample, comparison.name] = dated
