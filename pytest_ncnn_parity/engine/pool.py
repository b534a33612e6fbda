"""The networks of a worker: each loaded once per setup, and failing loads told once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_ncnn_parity.engine.nets import LoadedNet, StepFailed, Unavailable
from pytest_ncnn_parity.engine.protocol import CaseSpec, Job, NetSpec


class Skip(Exception):
    """The case at hand would test nothing; the text says why."""

    def __init__(self, reason: str, **evidence: Any) -> None:
        super().__init__(reason)
        self.evidence = evidence


class Pool:
    """Loaded networks, kept from one job to the next as long as the next one names them."""

    def __init__(self, enter: Callable[[str], None]) -> None:
        self._enter = enter
        self._loaded: dict[str, LoadedNet | StepFailed | Unavailable] = {}

    def keep_only(self, job: Job) -> None:
        """Drop the networks `job` does not name, so that memory holds what is in use."""
        named = {self._key(job, spec) for spec in job.nets}
        for key in [key for key in self._loaded if key not in named]:
            del self._loaded[key]

    def get(self, job: Job, spec: NetSpec) -> LoadedNet:
        """The network of `spec`, or the StepFailed or Unavailable its loading ended in."""
        key = self._key(job, spec)
        if key not in self._loaded:
            try:
                model = job.models[spec.model]
                self._loaded[key] = LoadedNet(spec, model, job.threads, self._enter)
            except (StepFailed, Unavailable) as problem:
                self._loaded[key] = problem
        found = self._loaded[key]
        if isinstance(found, LoadedNet):
            return found
        raise found

    @staticmethod
    def _key(job: Job, spec: NetSpec) -> str:
        model = job.models[spec.model]
        options = sorted(spec.options.items())
        return repr((model.param, model.text, model.bin, spec.device, spec.precision, options))


class JobNets:
    """The pool as one job sees it: by number, and with one case to tell of a load that failed."""

    def __init__(self, pool: Pool, job: Job) -> None:
        self._pool = pool
        self._job = job
        self._teller: dict[int, str] = {job.trajectory: job.cases[0].id} if job.cases else {}
        for case in job.cases:
            for number in (case.reference, case.candidate):
                if number is not None:
                    self._teller.setdefault(number, case.id)

    def __getitem__(self, number: int) -> LoadedNet:
        return self._pool.get(self._job, self._job.nets[number])

    def other(self, spec: NetSpec) -> LoadedNet:
        """A network the job does not name: one for evidence."""
        return self._pool.get(self._job, spec)

    def of(self, case: CaseSpec, number: int) -> LoadedNet:
        """Like [number]; but a load that failed is raised to one case only, and a Skip to others."""
        try:
            return self[number]
        except StepFailed as failed:
            teller = self._teller[number]
            if self._job.tells_load_failures and teller == case.id:
                raise
            raise Skip(
                f"not run: ncnn could not {failed.step}; the first case of the first sample fails "
                "and tells why"
            ) from None


def death(failed: StepFailed) -> Mapping[str, Any]:
    """A step that failed, as evidence."""
    return {**failed.death, "step": failed.step}
