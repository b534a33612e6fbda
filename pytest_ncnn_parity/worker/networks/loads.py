"""What must be loaded for a network of a job: one network of ncnn, or one for each mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.protocol import Job, Judge, Model, NetSpec
from pytest_ncnn_parity.network.graph import Graph

Key = tuple[Model, str]  # identifies a loaded network: the model, and how it is run


class Load(Frozen):
    """One network to be loaded; `label` distinguishes its native steps."""

    spec: NetSpec
    model: Model
    label: str

    @property
    def key(self) -> Key:
        options = sorted(self.spec.options.items())
        return self.model, repr((self.spec.device, self.spec.precision, options, self.spec.worker))


def loads(job: Job, spec: NetSpec, graph_of: Callable[[Model], Graph]) -> Iterator[Load]:
    """Yield what to load for `spec`: one network, or if it is mixed, one for each mask."""
    model = job.models[spec.model]
    setup = spec.setup
    if not spec.mixed:
        files = f" of {model.name}" if spec.other else ""
        yield Load(spec, model, f"{setup}{' (patched)' if spec.patched else files}")
        return
    graph = graph_of(model)
    for mask in sorted(set(masks_of(job))):
        text = graph.text_under(mask)
        if text == graph.text:  # no layer changed, so this is the network itself
            yield Load(replace(spec, mixed=False), model, str(setup))
        else:
            own = replace(model, text=text)
            yield Load(replace(spec, mixed=False), own, f"{setup} with 31={mask}")


def masks_of(job: Job) -> tuple[int, ...]:
    """Return the masks, one for each layer, of the job's mixed networks."""
    assert isinstance(job, Judge)
    assert job.masks is not None
    return job.masks


def used(job: Job) -> Sequence[NetSpec]:
    """Return the networks that the cases of `job` use."""
    cases = job.cases if isinstance(job, Judge) else ()
    judged = {number for case in cases for number in (case.reference, case.candidate)}
    return [net for number, net in enumerate(job.nets) if number in {*judged, job.trajectory}]
