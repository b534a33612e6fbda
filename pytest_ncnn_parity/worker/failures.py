"""The exceptions that end a case or a step: `Skip`, `Unavailable` and `StepFailed`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pytest_ncnn_parity.base.errors import cut, listed
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.steps import Death, DeathKind, Step
from pytest_ncnn_parity.network.graph import Layer

LASTING = Evidence(lasting=True)  # of a Skip that depends on the model and the inputs alone


class Skip(Exception):
    """Raised if a case would test nothing; the message says why."""

    def __init__(self, reason: str, evidence: Evidence | None = None) -> None:
        super().__init__(reason)
        self.evidence = evidence or Evidence()


class Unavailable(Exception):
    """Raised if a setup cannot be had on this machine.

    `no_vulkan`: because the Vulkan device is missing. `no_worker`: because a worker is not declared.
    `lasting`: no other driver or device would help, only another ncnn or another processor. `death`: how
    the worker ended that was given up, which one case must tell.
    """

    def __init__(
        self,
        reason: str,
        *,
        no_vulkan: bool = False,
        lasting: bool = False,
        no_worker: bool = False,
        death: Death | None = None,
    ) -> None:
        super().__init__(reason)
        self.death = death
        self.no_worker = no_worker
        self.no_vulkan = no_vulkan
        self.lasting = lasting


class StepFailed(Exception):
    """Raised if a native step gave no result: it failed now, or it ended an earlier worker process."""

    def __init__(self, step: Step, death: Death) -> None:
        super().__init__(str(step))
        self.step = step
        self.death = death


def failed(step: Step, kind: DeathKind, detail: str) -> StepFailed:
    """Return the failure of `step`, to be raised. `steps.Death` documents the values of `kind`."""
    return StepFailed(step, Death(kind, detail, step))


def given(refused: StepFailed, layer: Layer, shapes: Mapping[str, Sequence[int]]) -> StepFailed:
    """Return the refusal of ncnn to run `layer`, with the `shapes` and the parameters it was given."""
    inputs = listed([str(list(shape)) for shape in shapes.values()])
    params = cut(" ".join(f"{key}={value}" for key, value in layer.params.items()))
    detail = f"{refused.death.detail}, given {inputs}" + (f", with {params}" if params else "")
    return StepFailed(refused.step, replace(refused.death, detail=detail))


@contextmanager
def as_failure(step: Step) -> Iterator[None]:
    """Raise StepFailed with `step` where the worker that runs it was given up."""
    try:
        yield
    except Unavailable as gone:
        raise failed(step, "worker", str(gone)) from None


def of_network(failed: StepFailed, label: str) -> StepFailed:
    """Return the failure to load the network `label`: one of its own if Vulkan did not start for it."""
    if failed.step.kind != "vulkan":
        return failed
    step = replace(failed.step, name=label)
    return StepFailed(step, replace(failed.death, step=step))
