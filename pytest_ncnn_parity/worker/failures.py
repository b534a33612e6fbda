"""The exceptions that end a case or a step: skipped, unavailable, failed."""

from __future__ import annotations

from pytest_ncnn_parity.engine.evidence import Death, Evidence
from pytest_ncnn_parity.engine.steps import Step


class Skip(Exception):
    """The case would test nothing; the text says why."""

    def __init__(self, reason: str, evidence: Evidence | None = None) -> None:
        super().__init__(reason)
        self.evidence = evidence or Evidence()


class Unavailable(Exception):
    """A setup this machine cannot give. `no_vulkan`: for want of the Vulkan device.

    `no_worker`: for want of a declaration. `lasting`: no driver or device could change it, but another
    ncnn or another processor.
    """

    def __init__(
        self, reason: str, no_vulkan: bool = False, lasting: bool = False, no_worker: bool = False
    ) -> None:
        super().__init__(reason)
        self.no_worker = no_worker
        self.no_vulkan = no_vulkan
        self.lasting = lasting


class StepFailed(Exception):
    """A native step that gave no result: ncnn refused it, or it ended a former worker."""

    def __init__(self, step: Step, death: Death) -> None:
        super().__init__(str(step))
        self.step = step
        self.death = death


def failed(step: Step, kind: str, detail: str) -> StepFailed:
    """The failure of `step`, to be raised; `evidence.Death` documents `kind`."""
    return StepFailed(step, Death(kind, detail, step))
