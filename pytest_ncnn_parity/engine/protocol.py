"""What crosses the pipe between pytest and a worker: jobs one way, messages the other.

One JSON object a line. A job is one of the classes here; the messages a worker sends back are, by
their key:

`at`           the native step about to run, a `Step`: what died, if nothing follows
`case`         the result of one case, a `Result`
`answer`       what a job that judges nothing found: a `SampleProfile`, `Timing`s or an `Isolated`
`environment`  versions and system, once, when the worker has started
`worker`       what a declared worker says of itself, and its `name`
`beat`         a sign of life while a declared worker is waited for
`gpus`         what ncnn reports of the Vulkan devices' drivers, by index: see `vulkan.versions`
`error`        the job cannot run at all; a text for the user, and `inputs` at fault with theirs
`end`          the job is done
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Death, Evidence
from pytest_ncnn_parity.engine.inputs import Input, Recording, decoded
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.engine.workers import Worker

OUT_OF_MEMORY = 71  # a worker's exit status if Python could not get memory


@dataclass(frozen=True)
class Model:
    """A network's files. `text` replaces the .param if masks are applied in memory.

    `setup`, `package.module:function`, is called with every Net before it is loaded; its module lies
    under `folders`, the first of which is the project's root. `name`: as what the spec names another
    model than its own.
    """

    param: str
    bin: str
    text: str | None = None
    setup: str | None = None
    folders: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class NetSpec:
    """A model (by its number in the job) under a setup. Hashed without its options, compared with.

    A `mixed` one runs under the job's masks without being loaded so: see `mixed.MixedNet`. One of
    `other` files stands for the first model's layers: see `other.OtherNet`. `worker`: the name of the
    worker that runs it; None: this machine's own ncnn.
    """

    model: int
    device: str
    precision: str
    options: Mapping[str, bool | int] = field(default_factory=dict, hash=False)
    mixed: bool = False
    other: bool = False
    worker: str | None = None

    @staticmethod
    def of(setup: Setup, model: int = 0, mixed: bool = False) -> NetSpec:
        """The network of `model` under `setup`."""
        options, other = dict(setup.options), setup.model is not None
        return NetSpec(model, setup.device, setup.precision, options, mixed, other, setup.worker)

    @property
    def patched(self) -> bool:
        """Whether it is a copy of the first model with other masks."""
        return self.model != 0 and not self.other

    @property
    def setup(self) -> Setup:
        return Setup(self.device, self.precision, self.options, worker=self.worker)


@dataclass(frozen=True)
class CaseSpec:
    """One case: exactly one of `layer` (its number) and `output` (a blob) is given.

    `reference` and `candidate` are numbers of nets in the job; `kind` is the comparison's.
    `golden`: the recording that is the reference of an output.
    """

    id: str
    comparison: str
    kind: str
    reference: int
    candidate: int | None
    half: str | None
    tolerance: Tolerance
    layer: int | None = None
    output: str | None = None
    golden: Recording | None = None


@dataclass(frozen=True)
class Job:
    """One sample: what to feed, what to load. Each kind of job says what to do with it.

    `inputs`: what is fed, by blob; `outputs`: the blobs that a run of the whole network is for.
    `trajectory` is the net whose values feed every layer case. `dead`: native steps that ended a worker
    before; they are not tried again. `workers`: those that are declared, of the ones that nets name.
    """

    kind: ClassVar[str]

    models: tuple[Model, ...]
    nets: tuple[NetSpec, ...]
    trajectory: int
    inputs: Mapping[str, Input]
    threads: int
    dead: tuple[Death, ...] = ()
    outputs: tuple[str, ...] = ()
    workers: tuple[Worker, ...] = ()

    def encode(self) -> str:
        return json.dumps({"kind": self.kind, **vars(self)}, default=vars)


@dataclass(frozen=True)
class Judge(Job):
    """Judge `cases`, and give a `Result` for each.

    `defaults` holds each comparison's layer tolerance for layers that are not themselves judged.
    `masks`, by layer, are those under which cases are judged where they are not the file's. `probe`:
    find out why a case fails. `repeats`: how often a whole network is run for an output, of which the
    worst run counts. `remember`: the next job will be much the same, so networks are kept, and what a
    step made of the same values. `accumulated`: follow each candidate's own run beside the layers that
    are judged alone. `tells_load_failures`: a network that does not load is the failure of the first
    case that wants it; in all but one sample of a spec it is a skip. `done` are the cases that need no
    result any more.
    """

    kind = "judge"

    cases: tuple[CaseSpec, ...] = ()
    defaults: Mapping[str, Tolerance] = field(default_factory=dict)
    masks: tuple[int, ...] | None = None
    probe: bool = True
    repeats: int = 1
    remember: bool = False
    accumulated: bool = False
    tells_load_failures: bool = True
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeasureProfile(Job):
    """Measure the trajectory, and find where every other network runs its layers: a `SampleProfile`."""

    kind = "profile"


@dataclass(frozen=True)
class MeasureTime(Job):
    """Time the networks: a `Timing` for each."""

    kind = "time"


@dataclass(frozen=True)
class TakeFingerprint(Job):
    """Compute a digest of each blob of the trajectory."""

    kind = "fingerprint"


@dataclass(frozen=True)
class FindWeights(Job):
    """Tell which bytes of its weights file each layer of each model reads."""

    kind = "weights"


@dataclass(frozen=True)
class FindDevices(Job):
    """Start Vulkan: for each of its devices, by index, whether it is a `gpu` or the `cpu` itself."""

    kind = "devices"


@dataclass(frozen=True)
class Isolate(Job):
    """Write the layer of `case`, with what it is fed, to `folder`: an `Isolated`."""

    kind = "isolate"

    case: CaseSpec | None = None
    folder: str = ""


@dataclass(frozen=True)
class SampleProfile:
    """What a search for masks needs to know about a sample.

    `absmax`: the largest magnitude of each blob. `sensitivity`: layer number -> how far, as a share of
    its largest output, the layer in fp32 is off once its inputs are rounded to the candidate's 16 bits:
    what no mask on the layer itself can bring back. `runs`: for each further network of the job, where
    each layer runs and what it stores, as read back.
    """

    absmax: Mapping[str, float]
    sensitivity: Mapping[int, float]
    runs: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True)
class Timing:
    """`ms`: milliseconds of each run of a network, or `problem`: why there are none.

    `where` holds "cpu" or "vulkan" for every layer.
    """

    ms: tuple[float, ...] = ()
    where: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Isolated:
    """`inputs` maps the blobs that a layer reads to their .npy files; `problem`: why there are no files.

    `custom`: ncnn itself does not have the operator.
    """

    inputs: Mapping[str, str] = field(default_factory=dict)
    custom: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What the worker found for one case.

    `reason` says why a case was skipped. `accumulated`: metrics of the same values in the candidate's
    own run against those in the reference's, where that was asked for. `cached`: when it was found, in
    UTC, where a former run has kept it.
    """

    id: str
    outcome: str
    metrics: Metrics | None = None
    reason: str | None = None
    evidence: Evidence = field(default_factory=Evidence)
    accumulated: Metrics | None = None
    cached: str | None = None


JOBS = (Judge, MeasureProfile, MeasureTime, TakeFingerprint, FindWeights, FindDevices, Isolate)


def decode_job(line: str) -> Job:
    """The job that `line` holds, as `Job.encode` wrote it."""
    raw = json.loads(line)
    kind = {job.kind: job for job in JOBS}[raw.pop("kind")]
    raw["models"] = tuple(Model(**{**m, "folders": tuple(m["folders"])}) for m in raw["models"])
    raw["nets"] = tuple(NetSpec(**net) for net in raw["nets"])
    raw["inputs"] = {blob: decoded(one) for blob, one in raw["inputs"].items()}
    raw["dead"] = tuple(_death(death) for death in raw["dead"])
    raw["outputs"] = tuple(raw["outputs"])
    raw["workers"] = tuple(Worker(**{**one, "command": tuple(one["command"])}) for one in raw["workers"])
    if kind is Judge:
        raw["cases"] = tuple(map(_case, raw["cases"]))
        raw["defaults"] = {name: Tolerance(**one) for name, one in raw["defaults"].items()}
        raw["done"] = tuple(raw["done"])
        raw["masks"] = None if raw["masks"] is None else tuple(raw["masks"])
    elif kind is Isolate:
        raw["case"] = _case(raw["case"])
    job: Job = kind(**raw)
    return job


def _case(raw: Mapping[str, Any]) -> CaseSpec:
    golden = None if raw["golden"] is None else Recording(**raw["golden"])
    return CaseSpec(**{**raw, "tolerance": Tolerance(**raw["tolerance"]), "golden": golden})


def _death(raw: Mapping[str, Any]) -> Death:
    lists = {name: tuple(raw[name]) for name in ("key", "lines")}
    return Death(**{**raw, **lists, "step": None if raw["step"] is None else Step(**raw["step"])})


def encode_result(result: Result) -> dict[str, Any]:
    """`result` for a message: what has its default is left out."""
    parts = ((name, getattr(result, name)) for name in ("evidence", "metrics", "accumulated"))
    texts = ((name, getattr(result, name)) for name in ("id", "outcome", "reason", "cached"))
    given = {name: strict_json.given(part) for name, part in parts if part is not None}
    return {**given, **{name: text for name, text in texts if text is not None}}
