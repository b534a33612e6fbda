"""What crosses the pipe between pytest and a worker: jobs one way, messages the other.

One JSON object a line. A job is a `Job`; the messages a worker sends back are, by their key:

`at`           the native step about to run: what died, if nothing follows
`case`         the result of one case: a `Result`
`environment`  versions and devices, once what is known of them has grown
`gpus`         what ncnn tells of the Vulkan devices' drivers, by index: see `driver.versions`
`survey`       what a job of kind `survey` found: see `survey.survey`
`time`         what a job of kind `time` found: see `timing.times`
`isolate`      what a job of kind `isolate` found: see `isolate.isolate`
`error`        the job cannot run at all; a text for the user, and `inputs` at fault with theirs
`end`          the job is done
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Model:
    """A network's files. `text` stands for the .param where masks are applied in memory.

    `setup`, `package.module:function`, is called with every Net before it is loaded; its module lies
    under `folders`, the first of which is the project's root.
    """

    param: str
    bin: str
    text: str | None = None
    setup: str | None = None
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetSpec:
    """A model (by its number in the job) under a setup. Hashed without its options, compared with.

    A `mixed` one runs under the job's masks without being loaded so: see `mixed.MixedNet`.
    """

    model: int
    device: str
    precision: str
    options: Mapping[str, bool | int] = field(default_factory=dict, hash=False)
    mixed: bool = False


@dataclass(frozen=True)
class CaseSpec:
    """One case: exactly one of `layer` (its number) and `output` (a blob) is given.

    `reference` and `candidate` are numbers of nets in the job; no candidate: judge the range.
    `golden`: the file, and the key in it, that stand for the reference of an output.
    """

    id: str
    comparison: str
    reference: int
    candidate: int | None
    half: str | None
    tolerance: Mapping[str, float | None]
    layer: int | None = None
    output: str | None = None
    golden: Mapping[str, str | None] | None = None


@dataclass(frozen=True)
class Job:
    """One sample: what to feed, what to load, what to do.

    `masks`, by layer, are those under which cases are judged where they are not the file's.
    `kind` is `judge` (the cases), `survey` (measure the trajectory), `time` (the networks) or `isolate`
    (write the layer of the one case, with what it is fed, to `folder`).
    `trajectory` is the net whose values feed every layer case; `dead` maps native steps that killed
    a worker to how it died: they are not tried again. `defaults` holds each comparison's layer
    tolerance for layers that are not themselves judged. `done` are the cases that need no result
    any more. `tells_load_failures`: a network that does not load is the failure of the first case
    that wants it; in all but one sample of a spec it is a skip. `repeats`: how often a whole network
    is run for an output, the worst of which counts. `remember`: the next job will be much the same,
    so networks are kept, and what a step made of the same values. `accumulated`: follow each
    candidate's own run beside the layers judged alone.
    """

    models: tuple[Model, ...]
    nets: tuple[NetSpec, ...]
    trajectory: int
    inputs: Mapping[str, Mapping[str, Any]]
    cases: tuple[CaseSpec, ...]
    defaults: Mapping[str, Mapping[str, float | None]]
    threads: int
    kind: str = "judge"
    folder: str | None = None
    masks: tuple[int, ...] | None = None
    probe: bool = True
    repeats: int = 1
    remember: bool = False
    accumulated: bool = False
    tells_load_failures: bool = True
    done: tuple[str, ...] = ()
    dead: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def encode(self) -> str:
        return json.dumps(vars(self), default=vars)

    @staticmethod
    def decode(line: str) -> Job:
        raw = json.loads(line)
        raw["models"] = tuple(Model(**{**m, "folders": tuple(m["folders"])}) for m in raw["models"])
        raw["nets"] = tuple(NetSpec(**n) for n in raw["nets"])
        raw["cases"] = tuple(CaseSpec(**c) for c in raw["cases"])
        raw["done"] = tuple(raw["done"])
        raw["masks"] = None if raw["masks"] is None else tuple(raw["masks"])
        return Job(**raw)


@dataclass(frozen=True)
class Result:
    """What the worker found for one case.

    `metrics` are those of `compare.Metrics`; `evidence` holds plain values by name, which
    `diagnose` reads; `reason` says why a case was skipped. `accumulated`: metrics of the same values
    in the candidate's own run against those in the reference's, where that was asked for.
    """

    id: str
    outcome: str
    metrics: Mapping[str, Any] | None = None
    reason: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    accumulated: Mapping[str, Any] | None = None
