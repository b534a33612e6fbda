"""What pytest and a worker send each other: jobs one way, messages the other.

Each is one JSON object per line. A job is one of the classes here; a worker's message is identified by
its key:

`at`           the native step about to run, a `Step`; if nothing follows, the worker died in it
`case`         the result of one case, a `Result`; `marks`: how many marks stderr has before it
`answer`       the answer to a job that judges nothing, in the form that the class of the job names
`environment`  versions and system, sent once when the worker has started; `pid`; whether it is
               `unlimited` in memory, or `unguarded` when its parent ends: see `limits.take`
`worker`       what a declared worker reports about itself, and its `name`
`beat`         a sign of life while a declared worker is awaited
`gpus`         what ncnn reports about the Vulkan devices' drivers, by index: see `vulkan.versions`
`error`        why the job cannot run at all, as a text for the user, and any `inputs` at fault
`end`          the job is done
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.inputs import Input, Recording
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.engine.workers import Worker

Outcome = Literal["passed", "failed", "skipped"]

OUT_OF_MEMORY = 71  # a worker's exit status if Python could not allocate memory


class Model(Frozen):
    """A network's files. `text` replaces the .param's text if masks are applied in memory.

    `setup`, as `package.module:function`, is called with every Net before it is loaded; its module is
    searched for in `folders`, the first of which is the project's root. `name` is what the spec calls a
    model other than its own.
    """

    param: str
    bin: str
    text: str | None = None
    setup: str | None = None
    folders: tuple[str, ...] = ()
    name: str = ""


class NetSpec(Frozen):
    """A model (its number in the job) under a setup. Equality respects the options, the hash does not.

    A `mixed` network runs under the job's masks without being loaded with them: see `mixed.MixedNet`.
    One of `other` files stands in for the first model's layers: see `other.OtherNet`. `worker` names the
    declared worker that runs it; None is the ncnn of this machine.
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
        """Return the network of model number `model` under `setup`."""
        options, other = dict(setup.options), setup.model is not None
        return NetSpec(model, setup.device, setup.precision, options, mixed, other, setup.worker)

    @property
    def patched(self) -> bool:
        """Whether it is a copy of the first model with other masks."""
        return self.model != 0 and not self.other

    @property
    def setup(self) -> Setup:
        return Setup(self.device, self.precision, self.options, worker=self.worker)


class CaseSpec(Frozen):
    """One case, of which either `layer` (its number) or `output` (a blob) is given.

    `reference` and `candidate` are numbers of the job's networks; `kind` is the comparison's. `golden`
    is the recording that serves as the reference of an output. `known`: it is expected to fail.
    `only_rounded`: of an output, whether another model differs in nothing but the rounding of weights.
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
    known: bool = False
    only_rounded: bool = False


class Job(Frozen):
    """One sample: what to load and what to feed. Each kind of job defines what to do with it.

    `inputs`: what is fed, by blob. `outputs`: the blobs that a run of the whole network computes.
    `trajectory`: the number of the network whose values feed every layer case. `dead`: the deaths of
    native steps that are not tried again. `workers`: the declared workers that the networks name.
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


class Judge(Job):
    """Judge `cases` and send a `Result` for each.

    `defaults`: each comparison's tolerance for layers that are not judged themselves, except for those
    with one of their own in `layer_tolerances`, by layer. `masks`: by layer, those that replace the
    file's.
    `probe`: find out why a case fails. `until_failed`: end the job with the first case that fails.
    `repeats`: how often a whole network runs for an output; the worst run counts. `remember`: the next
    job will be similar, so keep networks, and what a step computed from the same values.
    `keeps_trajectory`: the next job steps through the same trajectory, so keep its values.
    `accumulated`: also follow each candidate's own run. `done`: the cases that need no result any more;
    `red`: those of them that failed. `told`: the native steps whose failure another case has reported:
    what needs them is skipped. `last`: if all is well, no other job follows, so networks that these
    cases do not use are dropped.
    """

    kind = "judge"

    cases: tuple[CaseSpec, ...] = ()
    defaults: Mapping[str, Tolerance] = field(default_factory=dict)
    layer_tolerances: Mapping[str, Mapping[int, Tolerance]] = field(default_factory=dict)
    masks: tuple[int, ...] | None = None
    probe: bool = True
    until_failed: bool = False
    repeats: int = 1
    remember: bool = False
    keeps_trajectory: bool = False
    accumulated: bool = False
    done: tuple[str, ...] = ()
    red: tuple[str, ...] = ()
    told: tuple[Step, ...] = ()
    last: bool = False


class MeasureProfile(Job):
    """Measure the trajectory and find where all other networks run their layers: a `SampleProfile`.

    `sensitivity`: measure that as well, which takes as long as the trajectory.
    """

    kind = "profile"

    sensitivity: bool = True


class MeasureTime(Job):
    """Time the networks: one `Timing` for each."""

    kind = "time"


class TakeFingerprint(Job):
    """Compute a digest of each blob of the trajectory."""

    kind = "fingerprint"


class FindWeights(Job):
    """Find which bytes of its weights file each layer of each model reads."""

    kind = "weights"


class FindDevices(Job):
    """Start Vulkan and find, by index, whether each of its devices is a `gpu` or the `cpu` itself."""

    kind = "devices"


class Isolate(Job):
    """Write the layer of `case` and its inputs to `folder`: an `Isolated`."""

    kind = "isolate"

    case: CaseSpec | None = None
    folder: str = ""


class SampleProfile(Frozen):
    """What a search for masks needs to know about a sample.

    `absmax`: the largest magnitude of each blob. `sensitivity`: by layer number, the error of the layer
    in fp32, as a share of its largest output, if its inputs are rounded to the candidate's 16 bits; no
    mask on the layer itself removes it. It is empty unless the job asks for it. `runs`: for each network
    of the job after the trajectory, where each layer runs and what it stores, as read back.
    """

    absmax: Mapping[str, float]
    sensitivity: Mapping[int, float]
    runs: tuple[tuple[tuple[str, str], ...], ...]


class Timing(Frozen):
    """`ms`: the duration of each run of a network in milliseconds, or `problem`: why there is none.

    `where` holds "cpu" or "vulkan" for each layer.
    """

    ms: tuple[float, ...] = ()
    where: tuple[str, ...] = ()
    problem: str = ""


class Isolated(Frozen):
    """`inputs` maps the blobs that a layer reads to .npy files; `problem` says why there are no files.

    `custom`: ncnn itself does not have the operator.
    """

    inputs: Mapping[str, str] = field(default_factory=dict)
    custom: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What the worker found for one case.

    `reason`: why a case was skipped. `accumulated`: if requested, metrics of the same values in the
    candidate's own run against those in the reference's. `cached`: if the result was kept from an
    earlier run, when it was found, in UTC.
    """

    id: str
    outcome: Outcome
    metrics: Metrics | None = None
    reason: str | None = None
    evidence: Evidence = field(default_factory=Evidence)
    accumulated: Metrics | None = None
    cached: str | None = None


JOBS = (Judge, MeasureProfile, MeasureTime, TakeFingerprint, FindWeights, FindDevices, Isolate)
