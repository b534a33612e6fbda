"""The evidence that a worker gathers about one case, from which its cause is derived. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_MAX, FP16_OVERFLOW
from pytest_ncnn_parity.engine.int8_evidence import OtherScale, Quantization, WeightSteps
from pytest_ncnn_parity.engine.steps import Death
from pytest_ncnn_parity.network.versions.kept_by_quantizing import Difference

# Why a kernel of the reference is not trusted: its bits depend on fresh memory (""), an element on how
# many others are computed with it ("uneven"), it gives nan where its function has a value ("nan"), or
# nan or inf of finite values because exp overflows ("overflow"), or numbers of inf, of which its
# function makes nan or inf ("number"), it rounds after each of many summands ("sums"), is far from its
# function where that ends ("function"), or gives more elements than its inputs make ("shape").
KernelFault = Literal["", "uneven", "nan", "overflow", "number", "sums", "function", "shape"]

# What is run again without one suspect, see `Trial`: the plainest kernels of the CPU, the candidate as
# it is, in fp32 on its device, or without one of its options, or the other model in fp32 on the CPU.
TrialName = Literal[
    "plain_cpu",
    "repeated",
    "fp32_on_device",
    "without_arithmetic",
    "without_packing",
    "without_winograd",
    "other_files",
]


class Trial(Frozen):
    """The failed step, repeated with one suspect removed; `how` describes which.

    `agrees` is None if it could not be run, and `problem` says why. `scaled` is the error as a share of
    the largest reference value; `nonfinite` counts inf and nan.
    """

    how: str
    agrees: bool | None
    scaled: float = 0.0
    nonfinite: int = 0
    problem: str = ""


class Unrepresentable(Frozen):
    """A value beyond fp16's range: `stored` in fp16 by the layer, or read in fp16 by `readers`."""

    blob: str
    absmax: float
    stored: bool
    readers: tuple[str, ...]


class Inside(Frozen):
    """The largest values inside a layer's `kernel` on Vulkan, which no blob shows.

    `stored`: the largest that the kernel stores; `bound`: a size that no sum exceeds, in whatever order
    its terms are added. Both also in words. `mask` switches the kernel off.
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
        """Whether it overflows, or may reach a `limit` that is below fp16's largest value."""
        return self.overflows or (limit < FP16_MAX and self.bound >= limit)


class Constant(Frozen):
    """A constant of a layer that fp16 cannot hold: `what` it is, and its `value` in fp32.

    `lost_in`: fp16 `arithmetic`, in which a kernel uses it, or fp16 `storage`, in which it is stored.
    `coarse`: in fp16 it is neither inf nor 0, but rounded too coarsely.
    """

    what: str
    value: float
    lost_in: str
    coarse: bool = False

    @property
    def overflows(self) -> bool:
        return abs(self.value) >= FP16_OVERFLOW


class Infinite(Frozen):
    """The `count` of inf in the reference's own output, and the layer that made them."""

    count: int
    maker: str | None = None


class Underflow(Frozen):
    """Values that become 0 in fp16, and a reader that is wrong because of that even in fp32.

    `count` of `blob`, made by the layer `origin`; `scaled` and `nonfinite` are the reader's, which has a
    number because layers may have the same name. `failure`: why it cannot be run on them at all.
    `cancels`: they are differences of terms that fp16 rounds to one value.
    """

    blob: str
    origin: str
    count: int
    reader: str
    reader_type: str
    reader_number: int
    scaled: float = 0.0
    nonfinite: int = 0
    failure: str = ""
    cancels: bool = False


class Integers(Frozen):
    """A value that holds integers and is only passed on: as raw `bits`, or as whole `floats`.

    `word_reader`: the layer downstream that looks up a row for each, `tok (Embed)`, if there is one.
    """

    held_as: str
    word_reader: str | None = None


class GrowthStep(Frozen):
    """A layer whose output has a larger error than its input: `before` and `after`, as shares."""

    layer: str
    type: str
    before: float
    after: float


class Growth(Frozen):
    """Where an output's error grows in the candidate's own run: in `layers` layers, `largest` first.

    `ended` says why the run could not be followed to its end, if so.
    """

    layers: int
    largest: tuple[GrowthStep, ...]
    ended: str = ""


class Distrust(Frozen):
    """A layer of the reference whose kernel is wrong."""

    layer: str
    type: str
    fault: KernelFault = ""


@dataclass(frozen=True, slots=True)  # there are thousands; a dict for each would take most of the memory
class Evidence:
    """Everything observed about one case, apart from its metrics.

    How it ran: `setup` as requested, `execution` as read back, `device`, the layer's `mask`, its
    `counterpart` in another model, options that the device `dropped`, the reference's `stand_in`;
    whether on the candidate's `own_inputs`, in a `whole` network's run, or only `predicted`.
    What was compared: `blob` and its `shape`; of a recording its `recorded_shape` and, of the recorded
    blobs upstream, the last that is `alike_before` it and the first that is `unlike_before` it; of a
    recording that another model does not give, whether the spec's own model does: `own_as_recorded`.
    What is wrong with its values: the input blob it `misread`; the 16-bit `format_inside`, that of its
    weights, or of layers which its kernel makes and hands fp32; what is `unrepresentable`, or `near` to
    that within the requested headroom; what is `inside` the layer; a `constant` that fp16 cannot hold;
    `underflow`; `integers`; the int8 value it takes without computing in int8 (`takes_int8`); the
    reference's own nan and inf; detections that differ only by rows at a threshold.
    `only_rounded`: of an output of another model, whether that differs in nothing but the rounding of
    weights. For a candidate that computes `in_int8`: the `weights`, the `quantization` of the layer's
    input, and the `other_scale` by which its output is read, and the `differences` of its function from
    that in floats.
    Of a layer in int8: the outputs `without_scale`, whose weights have inf as their scale. Whether an
    output is `behind_int8` layers, and whether fp16 is known to hold all values of the reference that
    lead to it: `fits_up_to_here`. How many weights are `not_finite`. The inputs that are
    `perhaps_pictures`, though the spec does not say so, so that no grey step is known.
    Whether the reference can be trusted: `distrust` names a layer of it that cannot be.
    What was tried: `trials` by name; `rounding`, the error of rounding the true output alone; `noise`,
    an error out of tolerance that passed, as a multiple of how far the reference itself moves.
    Why there is no result: `death`, the line of a `shader` that failed, an `error` of the whole sample,
    or what makes a recording `unreadable`.
    Why it was skipped: `no_vulkan` device, `no_worker` declared, the `origin` of its bad input (a
    layer), both sides run `alike`, or the `death` of a layer upstream. `lasting`: the model, the setups,
    ncnn and the processor alone cause the skip. Also: bytes of weights `unread`, and what the
    candidate's own run shows.
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
    own_as_recorded: bool | None = None

    misread: str | None = None
    format_inside: str | None = None
    unrepresentable: Unrepresentable | None = None
    inside: Inside | None = None
    near: Unrepresentable | None = None
    constant: Constant | None = None
    only_rounded: bool = False
    in_int8: bool = False
    behind_int8: bool = False
    weights: WeightSteps | None = None
    quantization: Quantization | None = None
    other_scale: OtherScale | None = None
    differences: tuple[Difference, ...] = ()
    without_scale: tuple[int, ...] = ()
    not_finite: int = 0
    underflow: Underflow | None = None
    integers: Integers | None = None
    takes_int8: str | None = None
    reference_nan: int = 0
    reference_inf: Infinite | None = None

    distrust: Distrust | None = None
    trials: Mapping[TrialName, Trial] = field(default_factory=dict)
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
    fits_up_to_here: bool = False
    perhaps_pictures: tuple[str, ...] = ()

    @property
    def has_wrong_files(self) -> bool:
        """Whether what the files have for a layer in int8 is wrong, whoever computes with it."""
        weights, scale = self.weights, self.other_scale
        other_weights = weights is not None and weights.wrong
        return other_weights or (scale is not None and scale.of_all) or bool(self.differences)

    def right(self, trial: TrialName) -> bool:
        """Whether the trial of this name was run and agreed."""
        return trial in self.trials and bool(self.trials[trial].agrees)

    def wrong(self, trial: TrialName) -> bool:
        """Whether the trial of this name was run and disagreed."""
        return trial in self.trials and self.trials[trial].agrees is False
