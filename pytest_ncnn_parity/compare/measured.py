"""The result of comparing two arrays. Without numpy, which the parent process never imports."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP32_ROUNDING

# The median of a layer's channels may be so many dB below what the whole layer must have. Healthy layers
# have 25 dB and more, and 4 dB where one channel is 100 times larger than the others.
CHANNELS_BELOW = 5.0


@dataclass(frozen=True, slots=True)  # there are thousands: a dict for each would be most of the memory
class Metrics:
    """What a comparison measured. All statistics are float64; errors are in the blob's own units.

    `nan` and `inf` count the elements that have this value in the candidate but not in the reference.
    `scaled` is max|c - r| / max|r|; `sqnr_db` is 10 log10(sum r^2 / sum (c - r)^2). If one side has NaN
    or inf where the other has something else, the errors are infinite and the cosine is NaN; where both
    have the same, the statistics leave that element out. Each absmax covers the finite elements of its
    side. `least_scaled` is the smallest `scaled` with which every element passes, given the atol and
    rtol. `used` is the largest error of an element as a share of its tolerance: 1 is all of it, and inf
    means that no share allows it. The conditions on the whole array do not enter into it. For an int8
    layer it is instead the root mean square of the layer's loss as a share of the loss that is allowed,
    and for an error that is forgiven its share of what is forgiven, or 1.
    """

    agrees: bool
    total: int
    mismatched: int
    nan: int
    inf: int
    max_abs: float
    scaled: float
    cosine: float
    sqnr_db: float
    reference_absmax: float
    candidate_absmax: float
    least_scaled: float
    used: float
    index: tuple[int, ...]  # of the worst element, in numpy's order
    reference: float  # the reference's value at that element
    candidate: float  # the candidate's value at that element
    budget: float  # the error allowed at that element
    failed: tuple[str, ...] = ()  # the conditions that did not hold, as text
    # whether the values are whole numbers, which are right or wrong but never close
    integers: bool = False
    forgiven: str = ""  # what exceeds the tolerance and is accepted all the same, in words
    one_value: float | None = None  # what all elements of the reference are, for an output that passed
    digest: str = ""  # for such an output that depends on the inputs: equal for equal bits
    other_numbers: int = 0  # of such an output of whole numbers: how many the candidate has as others
    also_allowed: str = ""  # the rule by which something might have exceeded the tolerance, in words
    input_steps: float | None = None  # of an int8 layer: how many steps its largest input is, of 127

    @property
    def tells_nothing(self) -> bool:
        """Whether the reference is nowhere beyond the error allowed, so that 0 would agree as well."""
        return self.agrees and not self.integers and self.reference_absmax <= self.budget

    @property
    def is_rounding_of_fp32(self) -> bool:
        """Whether the error is one that correct computations in fp32 have, and larger than allowed.

        Not where other things than elements are wrong, such as rows of a list that are missing.
        """
        wrong = self.mismatched > 0 and not (self.agrees or self.integers)
        return wrong and self.scaled <= FP32_ROUNDING

    def forgiven_by(self, why: str, used: float = 1.0) -> Metrics:
        """Return these metrics as of an error that is accepted though it exceeds the tolerance."""
        return replace(self, agrees=True, failed=(), forgiven=why, used=used)


class Loss(Frozen):
    """What an int8 layer loses, as signal to noise in dB: of its whole output, and by channel.

    `channels_db` is the median over the channels; for an output without channels it is that of the
    whole.
    """

    sqnr_db: float
    channels_db: float

    def allowed(self, least: float) -> bool:
        """Whether the loss is no more than is allowed at `least` dB."""
        return self.sqnr_db >= least and self.channels_db >= least - CHANNELS_BELOW


# of arrays without elements
NOTHING = Metrics(
    agrees=True,
    total=0,
    mismatched=0,
    nan=0,
    inf=0,
    max_abs=0.0,
    scaled=0.0,
    cosine=1.0,
    sqnr_db=math.inf,
    reference_absmax=0.0,
    candidate_absmax=0.0,
    least_scaled=0.0,
    used=0.0,
    index=(),
    reference=0.0,
    candidate=0.0,
    budget=0.0,
)
