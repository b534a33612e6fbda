"""Rules for integers that 16 bits cannot hold: those that a layer reads, and those that it copies."""

from __future__ import annotations

from pytest_ncnn_parity.diagnose import wording
from pytest_ncnn_parity.diagnose.diagnosis import Explanation, Failure, with_trials
from pytest_ncnn_parity.network.integers import BITS, READ_INTEGERS
from pytest_ncnn_parity.network.masks import NO_STORAGE, NO_VULKAN

WHOLE = {"fp16": 2**11, "bf16": 2**8}  # the format has every integer up to this one


def read_in_16_bits(failure: Failure) -> Explanation | None:
    """ncnn casts a value that it uploads in 16 bits from floats, whatever it is (src/command.cpp)."""
    layer = failure.case.layer
    if layer is None or layer.type not in READ_INTEGERS or not failure.case.comparison.half:
        return None
    if not failure.evidence.right("fp32_on_device"):
        return None
    why = "it reads integers of 32 bits, which ncnn takes for floats and rounds to 16 bits"
    return with_trials(failure, f"{failure.seen}; {why}")


def handed_on_in_16_bits(failure: Failure) -> Explanation | None:
    held, half, layer = failure.evidence.integers, failure.case.comparison.half, failure.case.layer
    if held is None or half is None or layer is None:
        return None
    was, became = (wording.whole(n) for n in (failure.metrics.reference, failure.metrics.candidate))
    where = "in fp16, predicted" if failure.evidence.predicted else f"on {failure.where}"
    what = f"holds integers, and {layer.type} stores them in 16 bits: {was} becomes {became} {where}"
    if held.held_as == BITS:
        why = f"{was} is not representable in {half}, which takes the bits of an integer for a float's"
    else:
        why = f"{was} is not representable in {half}, which holds integers up to {WHOLE[half]} exactly"
    lines = [why]
    if held.word_reader is not None:
        lines.append(f"{held.word_reader} would look up the row of {became} in place of that of {was}")
    candidate = failure.case.comparison.candidate
    if candidate is None or candidate.on_vulkan:
        lines.append(
            f"31={NO_VULKAN} on this layer keeps it on the CPU, where integers stay as they are; on a "
            f"CPU that stores {half} as well, as ARM's do, it takes {NO_VULKAN | NO_STORAGE[half]}"
        )
    return with_trials(failure, what, *lines)
