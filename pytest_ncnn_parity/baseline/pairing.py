"""A model in two reports, the saved one and this run's: which cases belong together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_ncnn_parity.baseline.match import NAME, STRUCTURE, Network, Pairs, match
from pytest_ncnn_parity.report.document.regression import MatchedBy

Record = Mapping[str, Any]
Key = tuple[str, str, int | str]  # sample, comparison, and a layer's number or an output's blob


@dataclass(frozen=True)
class Counterpart:
    """What a layer or an output is now: None where it vanished."""

    now: int | str
    name: str
    was: str
    matched_by: MatchedBy


@dataclass(frozen=True)
class Model:
    """One model of a report."""

    record: Record

    @property
    def spec(self) -> str:
        return str(self.record["spec"])

    @cached_property
    def network(self) -> Network:
        return Network(self.record["layers"])

    @cached_property
    def cases(self) -> dict[Key, Record]:
        return {key: case for case in self.record["cases"] if (key := self._key(case)) is not None}

    @cached_property
    def unplaced(self) -> dict[str, Record]:
        """By node id the cases of which no layer is known, for the process that ran them died."""
        return {case["nodeid"]: case for case in self.record["cases"] if self._key(case) is None}

    def _key(self, case: Record) -> Key | None:
        """None for a case of which nothing but a name is known, and several layers have it."""
        place = case["output"] or case.get("number")
        if place is None or place not in self._places:
            place = self._number_of.get(case["layer"])
        return None if place is None else (case["sample"], case["comparison"], place)

    @cached_property
    def _places(self) -> set[int | str]:
        return {*range(len(self.record["layers"])), *self.outputs}

    @cached_property
    def _number_of(self) -> dict[str, int]:
        names = Counter(layer["name"] for layer in self.record["layers"])
        every = enumerate(self.record["layers"])
        return {layer["name"]: n for n, layer in every if names[layer["name"]] == 1}

    @cached_property
    def outputs(self) -> list[str]:
        read = {blob for layer in self.record["layers"] for blob in layer["inputs"]}
        made = (blob for layer in self.record["layers"] for blob in layer["outputs"])
        return [blob for blob in made if blob not in read]


@dataclass(frozen=True)
class Pair:
    """A model then and now."""

    old: Model
    new: Model

    @cached_property
    def layers(self) -> Pairs:
        return match(self.old.network, self.new.network)

    @cached_property
    def _back(self) -> dict[int, int]:
        return {new: old for old, (new, _) in self.layers.items()}

    def now(self, place: int | str) -> Counterpart | None:
        """What a layer or output of the saved report is in this run."""
        if isinstance(place, str):
            return self._output(place)
        if place not in self.layers:
            return None
        number, matched_by = self.layers[place]
        name, was = (m.record["layers"][n]["name"] for m, n in ((self.new, number), (self.old, place)))
        return Counterpart(number, name, was, matched_by)

    def _output(self, blob: str) -> Counterpart | None:
        """By the layer that makes it, where that one's is an output still; else by its name."""
        maker = self.old.network.at(blob)
        if maker is not None and maker[0] in self.layers:
            outputs = self.new.record["layers"][self.layers[maker[0]][0]]["outputs"]
            if maker[1] < len(outputs) and outputs[maker[1]] in self.new.outputs:
                found = outputs[maker[1]]
                return Counterpart(found, found, blob, NAME if found == blob else STRUCTURE)
        return Counterpart(blob, blob, blob, NAME) if blob in self.new.outputs else None

    def cases(self) -> Iterator[tuple[Key, Record | None, Record, Counterpart]]:
        """This run's cases, each with the saved one if there is one."""
        before = {}
        for (sample, comparison, place), case in self.old.cases.items():
            counterpart = self._counterparts[place]
            if counterpart is not None:
                before[sample, comparison, counterpart.now] = (case, counterpart)
        for key, case in self.new.cases.items():
            name = str(case["layer"] or case["output"])
            then, counterpart = before.get(key, (None, Counterpart(key[2], name, name, NAME)))
            yield key, then, case, counterpart
        known = {case["nodeid"]: case for case in self.old.record["cases"]}
        for nodeid, case in self.new.unplaced.items():
            name = str(case["layer"] or case["output"])
            key = (case["sample"], case["comparison"], nodeid)
            yield key, known.get(nodeid), case, Counterpart(nodeid, name, name, NAME)

    @cached_property
    def _counterparts(self) -> dict[int | str, Counterpart | None]:
        return {place: self.now(place) for place in dict.fromkeys(key[2] for key in self.old.cases)}

    def vanished(self) -> Iterator[int | str]:
        """Layers and outputs the saved report judged, which the network has no more."""
        if self.new.record["layers"]:  # else this run does not know its network
            yield from (place for place, found in self._counterparts.items() if found is None)

    def unselected(self) -> Iterator[Counterpart]:
        """Layers the saved report judged, which the spec selects no more."""
        layers = self.new.record["layers"]
        for found in filter(None, self._counterparts.values()):
            if isinstance(found.now, int) and not layers[found.now]["selected"]:
                yield found

    def added(self) -> list[str]:
        """Names of the layers the saved report's network did not have."""
        if not self.old.record["layers"]:
            return []
        every = enumerate(self.new.record["layers"])
        return [layer["name"] for number, layer in every if number not in self._back]

    def renamed(self) -> list[Counterpart]:
        """Layers that are found under another name."""
        every = (self.now(old) for old in self.layers)
        return [found for found in every if found is not None and found.matched_by != NAME]


def pairs(
    old: Sequence[Record], new: Sequence[Record], gone: Collection[str]
) -> tuple[list[Pair], list[Model]]:
    """Models by their spec's path; a spec that is gone by its network, where one new spec has the same.

    Then the models whose specs are gone for good. A spec that is there and did not run says nothing.
    """
    was, now = ({model["spec"]: Model(model) for model in some} for some in (old, new))
    found = [Pair(was[spec], now[spec]) for spec in now if spec in was]
    lost = [model for spec, model in was.items() if spec in gone and spec not in now]
    fresh = [model for spec, model in now.items() if spec not in was]
    for likeness in (_by_hash, _by_structure):
        for model in list(lost):
            same = [other for other in fresh if likeness(other) == likeness(model)]
            if len(same) == 1 and sum(likeness(m) == likeness(model) for m in lost) == 1:
                found.append(Pair(model, same[0]))
                lost.remove(model)
                fresh.remove(same[0])
    return found, lost


def _by_hash(model: Model) -> Any:
    return model.record["param_sha256"]


def _by_structure(model: Model) -> Any:
    return model.network.kinds, model.network.producers
