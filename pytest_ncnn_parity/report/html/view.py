"""The document as what the page's template shows: what is red, why, and what repairs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pytest_ncnn_parity.report.document.fix import FixRecord
from pytest_ncnn_parity.report.html.columns import counted, verdict
from pytest_ncnn_parity.report.text import fix_text

CARDS = 40  # red layers with a card; the table has them all
Case = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """One comparison of a model: how many cases ended how, and the worst of those that passed."""

    name: str
    counts: Mapping[str, int]
    told: str


@dataclass(frozen=True)
class Neighbour:
    """A layer beside a red one, and the blob between them. `largest`: of the blob, where it is known."""

    blob: str
    layer: str
    type: str
    runs: str
    largest: str


@dataclass(frozen=True)
class Red:
    """A layer, or an output, that failed, in however many comparisons and samples. `text` is one's."""

    name: str
    type: str
    causes: tuple[str, ...]
    headline: str
    text: str
    where: Mapping[str, tuple[str, ...]]
    runs: str
    reads: tuple[Neighbour, ...]
    readers: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Repair:
    """One set of masks, for every comparison that it was found for, or why there is none."""

    comparisons: tuple[str, ...]
    mark: str
    found: Mapping[str, Any]
    diff: tuple[tuple[str, str], ...]
    spec: str
    facts: tuple[tuple[str, str], ...]
    apply: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """One spec's part of the page."""

    number: int
    spec: str
    told: Mapping[str, Any]
    counts: Mapping[str, int]
    comparisons: tuple[Comparison, ...]
    red: tuple[Red, ...]
    more: int
    outputs: tuple[Red, ...]
    repairs: tuple[Repair, ...]

    @property
    def verdict(self) -> str:
        """failed, passed, or skipped where nothing was compared."""
        if self.counts["failed"]:
            return "failed"
        return "passed" if self.counts["passed"] else "skipped"


def models(document: Mapping[str, Any]) -> list[Model]:
    """The red ones first; `number` is the place in the document."""
    found = [_model(number, model) for number, model in enumerate(document["models"])]
    return sorted(found, key=lambda model: ("failed", "skipped", "passed").index(model.verdict))


def _model(number: int, model: Mapping[str, Any]) -> Model:
    cases = model["cases"]
    names = dict.fromkeys(case["comparison"] for case in cases)
    network = _Network(model)
    failed = [case for case in cases if case["outcome"] == "failed"]
    layers = _by_name(failed, "layer")
    return Model(
        number=number,
        spec=model["spec"],
        told=model,
        counts=counted(map(verdict, cases)),
        comparisons=tuple(
            _comparison(name, [case for case in cases if case["comparison"] == name]) for name in names
        ),
        red=tuple(_red(name, found, network) for name, found in list(layers.items())[:CARDS]),
        more=max(0, len(layers) - CARDS),
        outputs=tuple(_red(name, found, None) for name, found in _by_name(failed, "output").items()),
        repairs=tuple(_repairs(model["fixes"])),
    )


def _by_name(cases: Sequence[Case], key: str) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        if case[key] is not None:
            found.setdefault(case[key], []).append(case)
    return found


def _comparison(name: str, cases: Sequence[Case]) -> Comparison:
    counts = counted(map(verdict, cases))
    told = ""
    if counts["passed"]:
        needs, case = max(
            (
                (_used(case), case)
                for case in cases
                if case["outcome"] == "passed" and case["metrics"] is not None
            ),
            key=lambda pair: pair[0],
            default=(0.0, None),
        )
        if case is not None:
            told = f"closest to its limit: {_who(case)}, {needs:.0%} of what is allowed"
    elif not counts["failed"]:
        ((reason, _),) = Counter(str(case["message"]) for case in cases).most_common(1)
        told = f"nothing was compared: {reason}"
    return Comparison(name, counts, told)


def _used(case: Case) -> float:
    """How much of its tolerance a case uses up."""
    return float(case["metrics"]["least_scaled"]) / (case["tolerance"]["scaled"] or 1.0)


def _who(case: Case) -> str:
    return str(case["layer"] if case["layer"] is not None else f"output {case['output']}")


class _Network:
    """Who makes and who reads a blob, and where each layer ran."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        layers = model["layers"]
        self._layers = {layer["name"]: layer for layer in layers}
        self._makers = {blob: layer for layer in layers for blob in layer["outputs"]}
        self._cases = {
            (case["comparison"], case["sample"], case["layer"]): case for case in model["cases"]
        }

    def around(self, case: Case) -> tuple[tuple[Neighbour, ...], tuple[Neighbour, ...]]:
        """What `case`'s layer reads, and who reads what it makes."""
        layer = self._layers.get(case["layer"], {"inputs": [], "outputs": []})
        reads = tuple(
            self._neighbour(blob, self._makers[blob], self._makers[blob], case)
            for blob in layer["inputs"]
            if blob in self._makers
        )
        made = set(layer["outputs"])
        readers = tuple(
            self._neighbour(blob, reader, layer, case)
            for reader in self._layers.values()
            for blob in reader["inputs"]
            if blob in made
        )
        return reads, readers

    def _neighbour(
        self, blob: str, layer: Mapping[str, Any], maker: Mapping[str, Any], case: Case
    ) -> Neighbour:
        beside = self._cases.get((case["comparison"], case["sample"], layer["name"]))
        made = self._cases.get((case["comparison"], case["sample"], maker["name"]))
        largest = ""
        if made is not None and made["metrics"] is not None and len(maker["outputs"]) == 1:
            largest = _g(made["metrics"]["reference_absmax"], 6)
        return Neighbour(blob, layer["name"], layer["type"], _runs(beside), largest)


def _runs(case: Case | None) -> str:
    if case is None or case["execution"] is None:
        return "" if case is None or case["outcome"] != "skipped" else "skipped"
    return str(case["execution"])


def _red(name: str, cases: Sequence[Case], network: _Network | None) -> Red:
    first = cases[0]
    where: dict[str, list[str]] = {}
    for case in cases:
        where.setdefault(case["comparison"], []).append(case["sample"])
    reads, readers = network.around(first) if network is not None else ((), ())
    headline, *rest = first["message"].split("\n")
    return Red(
        name=name,
        type=first["type"] or "",
        causes=tuple(dict.fromkeys(case["cause"] or "" for case in cases)),
        headline=_said(headline, first),
        text="\n".join(line.removeprefix("  ") for line in _own(rest)),
        where={comparison: tuple(samples) for comparison, samples in where.items()},
        runs=_runs(first),
        reads=reads,
        readers=readers,
    )


def _said(headline: str, case: Case) -> str:
    """What a first line says beside who and why, which stand beside it on the page."""
    who = f"{case['layer']} ({case['type']}): " if case["layer"] is not None else ""
    return headline.removeprefix(who).removesuffix(f" ({case['cause']})")


def _own(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a message up to its fix, which has a place of its own on the page."""
    for line in lines:
        if line.startswith(("  fix (", "  no fix:")):
            return
        yield line


def _repairs(fixes: Sequence[FixRecord]) -> Iterator[Repair]:
    """The fixes, those of the same masks as one: the one that tells most."""
    alike: dict[str, list[FixRecord]] = {}
    for fix in fixes:
        alike.setdefault(fix["patch"] or fix["how"], []).append(fix)
    for same in alike.values():
        found = max(same, key=lambda fix: (fix["verified"], fix["cost"] is not None))
        yield Repair(
            comparisons=tuple(fix["comparison"] for fix in same),
            mark=fix_text.mark(found),
            found=found,
            diff=tuple((_kind(line), line) for line in found["patch"].removesuffix("\n").split("\n")),
            spec=fix_text.in_spec(found),
            facts=tuple(_facts(found)),
            apply=tuple(path for fix in same for path in fix["written"] if path.endswith(".patch")),
        )


def _kind(line: str) -> str:
    """What a line of a patch is, in a word."""
    for start, kind in (("---", "file"), ("+++", "file"), ("@@", "place"), ("-", "del"), ("+", "ins")):
        if line.startswith(start):
            return kind
    return "same"


def _facts(fix: FixRecord) -> Iterator[tuple[str, str]]:
    if fix["lines"]:
        before, after = fix["errors"]
        if before is not None and after is not None:
            yield "worst output error", f"{_g(before)} → {_g(after)}"
        yield "proof", fix["how"]
    if fix["cost"] is not None:
        yield "cost", fix_text.cost(fix["cost"])
    for other in fix["alternatives"]:
        yield "instead", fix_text.alternative(other)
    for note in fix["notes"]:
        yield "note", note
    if fix["runs"]:
        yield "search", f"from {fix['start']}: {fix['runs']} runs, {fix['seconds']:.1f} s"
    for path in fix["written"]:
        yield "written", PurePath(path).as_posix()


def _g(value: Any, digits: int = 3) -> str:
    return f"{float(value):.{digits}g}"
