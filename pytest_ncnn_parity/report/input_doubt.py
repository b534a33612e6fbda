"""Says that random inputs may be at fault if a network is red on these alone, and what to feed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.compare.number_formats import FP16_OVERFLOW
from pytest_ncnn_parity.network.input_kinds import HEADS, ROWS, TURNED, VECTOR, first_telling
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.model import NetworkRecord
from pytest_ncnn_parity.spec import yaml12
from pytest_ncnn_parity.spec.sources import RandomSource, Source

# causes that unrealistic values may bring about; a crash or a wrong kernel is a fault with noise as well
BY_VALUES = frozenset(
    [
        "storage-overflow",
        "accumulator-overflow",
        "winograd-overflow",
        "underflow",
        "nan",
        "inf",
        "precision",
    ]
)


NO_SPECTRUM = (ROWS, VECTOR, HEADS, TURNED)  # kinds of inputs that no smooth numbers are like
# sources by their number of channels
PICTURES = {1: "{image: picture.png, color: gray}", 3: "{image: picture.png}"}


def noise(plan: Plan) -> dict[str, dict[str, list[int]]]:
    """Return the samples fed only with random numbers, with the shape of each input by blob."""
    shapes: dict[str, dict[str, list[int]]] = {}
    for sample, blobs in plan.spec.inputs.items():
        drawn = {
            blob: list(source.shape or plan.input_shape(blob))
            for blob, source in blobs.items()
            if isinstance(source, RandomSource) and source.random in ("normal", "uniform", "smooth")
        }
        if len(drawn) == len(blobs):
            shapes[sample] = drawn
    return shapes


def smooth(plan: Plan) -> list[str]:
    """Return those of them that are smooth, like pictures of nothing, where a picture or a sound is fed.

    The states of a network that hears a wave have no spectrum.
    """
    return [
        sample
        for sample in noise(plan)
        if _is_smooth({blob: _drawn(source) for blob, source in plan.spec.inputs[sample].items()}, plan)
    ]


def _drawn(source: Source) -> str:
    return source.random if isinstance(source, RandomSource) else ""


def _is_smooth(drawn: Mapping[str, str], plan: Plan) -> bool:
    if "smooth" not in drawn.values():
        return False
    others = (first_telling(plan.graph, blob) for blob in drawn if drawn[blob] != "smooth")
    return all(telling is not None and telling.kind in NO_SPECTRUM for telling in others)


def of_case(plan: Plan, sample: str, cause: str) -> str:
    """Return the doubt as a line for one red case, before other samples are judged, or ""."""
    random = noise(plan)
    if cause not in BY_VALUES or sample not in random:
        return ""
    like_it = random.keys() if sample in smooth(plan) else random.keys() - set(smooth(plan))
    real = [printable(other) for other in plan.spec.inputs if other not in like_it]
    advice = f" unless {' or '.join(real)} is red as well" if real else ": feed a real input first"
    return f"input:    random numbers only, which may be at fault{advice}"


def lines(network: NetworkRecord, cases: Collection[CaseRecord]) -> list[str]:
    """Return the lines of the doubt, to print before the failures; none if real inputs are red too."""
    noise = network.get("noise", {})
    red = [case for case in cases if case["outcome"] == "failed"]
    doubtful = [case for case in red if case["cause"] in BY_VALUES]
    if not doubtful or any(case["sample"] not in noise for case in red):
        return []
    samples = list(dict.fromkeys(case["sample"] for case in doubtful))
    smooth = set(samples) <= set(network.get("smooth", []))
    return [printable(line) for line in _lines(noise[samples[0]], samples, doubtful, smooth)]


def _lines(
    shapes: dict[str, list[int]], samples: Collection[str], red: Collection[CaseRecord], is_smooth: bool
) -> Iterator[str]:
    which = f"sample{'s' * (len(samples) > 1)} {', '.join(samples)}"
    yield (
        f"the input may be at fault: red on random numbers only ({which}), which are unlike what "
        f"the network was trained on{_blown_up(red)}; first feed something real, or like it "
        "in spectrum and range (low, high), as one of:"
    )
    smooth = (
        (blob, f"{{random: smooth, shape: {shape}, low: 0, high: 1}}") for blob, shape in shapes.items()
    )
    if not is_smooth:
        yield _sample("smooth", smooth)
    recorded = dict.fromkeys(shapes, "{file: recorded.npy}")
    pictures = {
        blob: PICTURES[shape[0]]
        for blob, shape in shapes.items()
        if len(shape) == 3 and shape[0] in PICTURES
    }
    if pictures:
        yield _sample("picture", {**recorded, **pictures}.items())
    yield _sample("recorded", recorded.items())


def _sample(name: str, sources: Iterable[tuple[str, str]]) -> str:
    return f"  {name}: {{{', '.join(f'{yaml12.quoted(blob)}: {source}' for blob, source in sources)}}}"


def _blown_up(red: Collection[CaseRecord]) -> str:
    """Return a remark on the largest value that random inputs led to, if it is beyond fp16's range."""
    measured = [case["metrics"] for case in red if case["metrics"] is not None]
    largest = max((float(metrics["reference_absmax"]) for metrics in measured), default=0.0)
    return f" (values reach {largest:.3g})" if largest >= FP16_OVERFLOW else ""
