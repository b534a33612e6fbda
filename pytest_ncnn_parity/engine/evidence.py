"""The facts that the worker saw of one case, from which its cause is read. Plain values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_ncnn_parity.compare.fp16 import FP16_MAX, FP16_OVERFLOW
from pytest_ncnn_parity.engine.steps import Step


@dataclass(frozen=True)
class Death:
    """How a native step came to no result.

    `kind`: `crash`, `timeout` and `memory` ended a worker; `worker`: a declared one could not be started
    or reached, or its answers made no sense; `refused` is ncnn's own word; `shape`: the two sides have
    other shapes. Four were not run: `misread` would take 16-bit values for fp32, and `int8` int8 for 32
    bits; the inputs of `misfit` do not fit it, and a shape hint contradicts those of `hint`. `files`
    and `raised` (by code of the project's own) are faults of what the spec names at `key`, with more in
    `lines`. `step` is None where a worker died outside of any.
    """

    kind: str
    detail: str
    step: Step | None = None
    stderr: str = ""
    key: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def in_loading(self) -> bool:
        return self.step is not None and self.step.loads

    @property
    def of_worker(self) -> bool:
        """Whether a declared worker was not there, so that nothing can be said about a network."""
        return self.kind == "worker"

    @property
    def of_shapes(self) -> bool:
        """Whether the inputs do not fit the model, so that nothing can be said about a setup."""
        return self.kind in ("misfit", "hint", "int8")


@dataclass(frozen=True)
class Trial:
    """The failed step once more with one suspect taken away; `how` says which, in words.

    `agrees` is None where it could not be run, and `problem` says why. `scaled` is the error as a share
    of the largest reference value; `nonfinite` counts inf and nan.
    """

    how: str
    agrees: bool | None
    scaled: float = 0.0
    nonfinite: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Unrepresentable:
    """A value beyond fp16: `stored` in fp16 by the layer itself, or read in fp16 by `readers`."""

    blob: str
    absmax: float
    stored: bool
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Inside:
    """The largest values inside a layer, which no blob shows, as its `kernel` on Vulkan computes them.

    `stored`: the largest that it stores on the way; `bound`: what no sum reaches in between, in whatever
    order its terms are added. In words, what has the value. `mask`: the one that takes the kernel away.
    """

    kernel: str
    mask: int
    stored: float
    what_is_stored: str
    bound: float
    what_is_bound: str

    @property
    def overflows(self) -> bool:
        return self.stored >= FP16_OVERFLOW

    def reaches(self, limit: float) -> bool:
        """Whether it overflows, or may reach a `limit` that is below fp16's end."""
        return self.overflows or (limit < FP16_MAX and self.bound >= limit)


@dataclass(frozen=True)
class Constant:
    """A constant of a layer that fp16 does not keep: `what` it is, with the `value` in fp32.

    `lost_in`: fp16 `arithmetic`, in which a kernel takes it, or fp16 `storage`, in which it is kept.
    `coarse`: it is neither inf nor 0 there, but rounded too coarsely.
    """

    what: str
    value: float
    lost_in: str
    coarse: bool = False

    @property
    def overflows(self) -> bool:
        return abs(self.value) >= FP16_OVERFLOW


@dataclass(frozen=True)
class Infinite:
    """How many inf the reference itself holds where they are given out, and the layer that made them."""

    count: int
    maker: str | None = None


@dataclass(frozen=True)
class WeightSteps:
    """How far the int8 weights of `layer` are from those in floats: the `largest` difference, in steps
    of their own. `outputs`, of the `total`, have weights that rounding cannot have made; `factor`: that
    of their scales, by which both would agree. `clipped`: the share at the end of
    int8's range, beside one of each output. `wasting`: the outputs whose scales are so small that most
    steps are not used; `spare`: by what factor these could be larger.
    """

    layer: str
    largest: float
    outputs: tuple[int, ...]
    total: int
    factor: float
    clipped: float
    wasting: tuple[int, ...] = ()
    spare: float = 1.0


@dataclass(frozen=True)
class Quantization:
    """By what the input of `layer`, in int8, is rounded, and what that costs by itself.

    `scale` is its own, `best` 127 over the largest value here; `clipped`: the share of values beyond the
    own. Of the output, where the input alone is rounded by either, `sqnr_db` and `best_sqnr_db` are of
    all, `channels_db` and `best_channels_db` of half of the channels: see `compare.int8.Loss`.
    """

    layer: str
    scale: float
    best: float
    clipped: float
    sqnr_db: float
    channels_db: float
    best_sqnr_db: float
    best_channels_db: float


@dataclass(frozen=True)
class Underflow:
    """Values that fp16 makes 0, and a reader that is wrong for it even in fp32.

    `count` values of `blob`, which the layer `origin` made; `scaled` and `nonfinite` are the reader's.
    """

    blob: str
    origin: str
    count: int
    reader: str
    reader_type: str
    scaled: float
    nonfinite: int


@dataclass(frozen=True)
class Integers:
    """A value that holds integers and is only handed on: as `bits` of their own, or as whole `floats`.

    `word_reader`: the layer behind that looks up a row for each of them, `tok (Embed)`, if there is one.
    """

    held_as: str
    word_reader: str | None = None


@dataclass(frozen=True)
class GrowthStep:
    """A layer that gives out a larger error than was put in: `before` and `after` as shares."""

    layer: str
    type: str
    before: float
    after: float


@dataclass(frozen=True)
class Growth:
    """Where an output's error grows in the candidate's own run: in `layers` layers, `largest` first.

    `ended` says why the run could not be followed to its end, if it could not.
    """

    layers: int
    largest: tuple[GrowthStep, ...]
    ended: str = ""


@dataclass(frozen=True)
class Distrust:
    """A layer of the reference whose bits depend on fresh memory, or, if `uneven`, on other elements."""

    layer: str
    type: str
    uneven: bool = False


@dataclass(frozen=True, slots=True)  # there are thousands: a dict for each would be most of the memory
class Evidence:
    """Everything seen of one case beside its metrics.

    How it ran: `setup` as asked, `execution` as read back, `device`, the layer's `mask`, its
    `counterpart` in another model, options that the device `dropped`; the reference's `stand_in`; on
    the candidate's `own_inputs`; `whole`: as a part of a run of the network; `predicted`: not run.
    What was compared: `blob` and its `shape`; of a recording its `recorded_shape` and, of the recorded
    blobs it is made of, the last that is `alike_before` it and the first that is `unlike_before` it.
    What is wrong with its values: the input blob it `misread`, what is `unrepresentable` or, within the
    headroom that is asked for, `near` to it, what is `inside` the layer, a `constant` of it that fp16
    does not keep, `underflow`, that they are `integers`, the int8 value it takes though it does not
    compute in int8 (`takes_int8`), how many nan and what inf the reference itself gives; detections that
    differ by rows at a threshold alone.
    Of a candidate that computes `in_int8`: the `weights` and the `quantization` of a layer's input.
    Whether the reference can be trusted: `distrust` names a layer that reads memory nobody wrote.
    What was tried: `trials` by name, and `rounding`, the error of rounding the true output alone.
    `noise`: an error out of tolerance that passed, as a multiple of how far the reference itself moves.
    How it ended without a result: `death`, the line of a `shader` that failed, an `error` of the whole
    sample, or what makes a recording `unreadable`.
    Why it was skipped: `no_vulkan` device, `no_worker` declared, the layer at whose value it was
    (`origin`), both sides run `alike`, or the `death` of a layer upstream. `lasting`: the model, the
    setups, ncnn and the processor alone make it a skip.
    Beside it: bytes of the weights `unread`, and what the candidate's own run shows.
    """

    setup: str | None = None
    execution: str | None = None
    device: str | None = None
    stand_in: str | None = None
    own_inputs: bool = False
    counterpart: str | None = None
    mask: int = 0
    dropped: tuple[str, ...] = ()
    whole: bool = False
    predicted: bool = False

    blob: str | None = None
    shape: tuple[int, ...] = ()
    recorded_shape: tuple[int, ...] | None = None
    alike_before: str | None = None
    unlike_before: str | None = None

    misread: str | None = None
    unrepresentable: Unrepresentable | None = None
    inside: Inside | None = None
    near: Unrepresentable | None = None
    constant: Constant | None = None
    in_int8: bool = False
    weights: WeightSteps | None = None
    quantization: Quantization | None = None
    underflow: Underflow | None = None
    integers: Integers | None = None
    takes_int8: str | None = None
    reference_nan: int = 0
    reference_inf: Infinite | None = None

    distrust: Distrust | None = None
    trials: Mapping[str, Trial] = field(default_factory=dict)
    rounding: float | None = None
    noise: float | None = None

    death: Death | None = None
    shader: str | None = None
    error: str | None = None
    unreadable: str | None = None

    no_vulkan: bool = False
    no_worker: bool = False
    origin: str | None = None
    alike: bool = False
    lasting: bool = False
    unread: int = 0
    accumulated_ended: str | None = None
    growth: Growth | None = None
    threshold_decides: bool = False

    def right(self, trial: str) -> bool:
        """Whether the trial so named was run, and came out right."""
        return trial in self.trials and bool(self.trials[trial].agrees)

    def wrong(self, trial: str) -> bool:
        """Whether the trial so named was run, and came out wrong."""
        return trial in self.trials and self.trials[trial].agrees is False
