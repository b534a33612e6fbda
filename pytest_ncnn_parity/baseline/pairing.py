"""Pairs the cases of a model in the saved report with those of this run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.baseline.folded import as_one, folded
from pytest_ncnn_parity.baseline.reported import CaseKey, ReportedModel, Target
from pytest_ncnn_parity.compare.comparisons import Golden
from pytest_ncnn_parity.network.versions.match import NAME, STRUCTURE, Match, MatchedBy, match
from pytest_ncnn_parity.report.document.case import CaseRecord
from pytest_ncnn_parity.report.document.model import ModelRecord


class Counterpart(Frozen):
    """What a layer or a blob of the saved report is in this run."""

    now: Target
    name: str
    was: str
    matched_by: MatchedBy


class CasePair(Frozen):
    """A case of this run, and the same one in the saved report if there is one."""

    key: CaseKey
    before: CaseRecord | None
    after: CaseRecord
    counterpart: Counterpart


class ModelPair(Frozen):
    """A model then and now."""

    old: ReportedModel
    new: ReportedModel

    @cached_property
    def layers(self) -> Match:
        return match(self.old.network, self.new.network)

    @cached_property
    def _folded(self) -> dict[int, list[int]]:
        """By layer now, those of the saved report that are one layer now, in running order."""
        return folded(self.old, self.new, self.layers)

    @cached_property
    def _ends(self) -> dict[int, int]:
        """By the last of such layers, the one that has its values now."""
        return {chain[-1]: now for now, chain in self._folded.items()}

    @cached_property
    def _inside(self) -> dict[int, int]:
        """By those in front of the last one, whose values are gone, the layer that does their work."""
        return {number: now for now, chain in self._folded.items() for number in chain[:-1]}

    def counterpart(self, target: Target) -> Counterpart | None:
        """What a layer or blob of the saved report is in this run; None if it has vanished."""
        if isinstance(target, str):
            return self._blob(target)
        if target in self._ends:
            return self._as_layer(target, self._ends[target], STRUCTURE)
        if target not in self.layers:
            return None
        return self._as_layer(target, *self.layers[target])

    def _as_layer(self, target: int, number: int, matched_by: MatchedBy) -> Counterpart:
        name, was = self.new.network.layers[number]["name"], self.old.network.layers[target]["name"]
        return Counterpart(number, name, was, matched_by)

    def _blob(self, blob: str) -> Counterpart | None:
        """Match a blob by the layer that makes it, or else by its name.

        Outputs by name if both networks have outputs of the same names, as a program extracts them. What
        was an output has to be one.
        """
        then, now = self.old.network, self.new.network
        named = Counterpart(blob, blob, blob, NAME)
        may_be = now.outputs if blob in then.outputs else now.origins
        if blob in then.outputs and set(then.outputs) == set(now.outputs):
            return named
        maker, slot = then.origins.get(blob, (-1, 0))
        if maker in self._ends or maker in self.layers:
            number = self._ends[maker] if maker in self._ends else self.layers[maker][0]
            blobs = now.layers[number]["outputs"]
            if slot < len(blobs) and blobs[slot] in may_be:
                counter = blobs[slot]
                return Counterpart(counter, counter, blob, NAME if counter == blob else STRUCTURE)
        return named if blob in may_be else None

    def cases(self) -> Iterator[CasePair]:
        """This run's cases, each with the saved one if there is one."""
        saved: dict[CaseKey, tuple[CaseRecord, Counterpart]] = {}
        inside: dict[CaseKey, list[CaseRecord]] = {}
        for key, case in self.old.cases.items():
            counterpart = self._counterparts[key.target]
            if isinstance(key.target, int) and key.target in self._inside:
                inside.setdefault(key._replace(target=self._inside[key.target]), []).append(case)
            elif counterpart is not None:
                saved[key._replace(target=counterpart.now)] = (case, counterpart)
        for key, case in self.new.cases.items():
            if key not in saved:
                yield CasePair(key, None, case, _itself(key.target, case))
                continue
            before, counterpart = saved[key]
            yield CasePair(key, as_one(before, inside.get(key, ())), case, counterpart)
        by_nodeid = {case["nodeid"]: case for case in self.old.record["cases"]}
        for nodeid, case in self.new.unplaced.items():
            key = CaseKey(case["sample"], case["comparison"], nodeid)
            yield CasePair(key, by_nodeid.get(nodeid), case, _itself(nodeid, case))

    @cached_property
    def _counterparts(self) -> dict[Target, Counterpart | None]:
        """The counterpart of everything that the saved report judged."""
        judged = dict.fromkeys(key.target for key in self.old.cases)
        return {target: self.counterpart(target) for target in judged}

    def vanished(self) -> Iterator[Target]:
        """Layers and blobs that the saved report judged and the network no longer has."""
        if self.new.network.layers:  # a run that could not read its network has no layers
            yield from (
                target
                for target, now in self._counterparts.items()
                if now is None and target not in self._inside
            )

    def unselected(self) -> Iterator[Counterpart]:
        """Layers that the saved report judged and the spec no longer selects."""
        layers = self.new.network.layers
        for counterpart in filter(None, self._counterparts.values()):
            if isinstance(counterpart.now, int) and not layers[counterpart.now]["selected"]:
                yield counterpart

    def not_compared(self) -> Iterator[tuple[CaseKey, Counterpart]]:
        """Outputs and recordings that the saved report judged, and the spec no longer compares.

        The spec still has their samples and comparisons.
        """
        now = self.new.record
        outputs, recorded = now.get("outputs", []), now.get("recorded", {})
        of_recordings = {
            one["name"]: one["reference"] == Golden.reference_name for one in now.get("comparisons", ())
        }
        for key in self.old.cases:
            counterpart = self._counterparts[key.target]
            if counterpart is None or not isinstance(counterpart.now, str):
                continue
            if key.sample in recorded and key.comparison in of_recordings:
                judged = recorded[key.sample] if of_recordings[key.comparison] else outputs
                if not {counterpart.now, key.target} & set(judged):
                    yield key, counterpart

    def not_run(self) -> Iterator[tuple[CaseKey, Counterpart]]:
        """Layers that the saved report judged in a sample, and that it does not run any more.

        A layer whose output is fed is judged in comparisons with 16 bits alone.
        """
        now = self.new.record
        not_run, fed = now.get("not_run", {}), now.get("fed", {})
        half = {one["name"]: one["half"] for one in now.get("comparisons", ())}
        for key in self.old.cases:
            counterpart = self._counterparts[key.target]
            if counterpart is None or not isinstance(counterpart.now, int) or key.comparison not in half:
                continue
            by_feeding = half[key.comparison] is None and counterpart.now in fed.get(key.sample, ())
            if by_feeding or counterpart.now in not_run.get(key.sample, ()):
                yield key, counterpart

    def added(self) -> list[str]:
        """Names of the layers that the saved report's network did not have."""
        if not self.old.network.layers:
            return []
        matched = {new for new, _ in self.layers.values()}
        numbered = enumerate(self.new.network.layers)
        return [layer["name"] for number, layer in numbered if number not in matched]

    def renamed(self) -> list[Counterpart]:
        """Layers that have another name now."""
        counterparts = (self.counterpart(number) for number in self.layers)
        return [layer for layer in counterparts if layer is not None and layer.matched_by != NAME]


def _itself(target: Target, case: CaseRecord) -> Counterpart:
    """The layer or output of a case that is new in this run, under its present name."""
    name = str(case["layer"] or case["output"])
    return Counterpart(target, name, name, NAME)


def model_pairs(
    old: Sequence[ModelRecord], new: Sequence[ModelRecord], gone: Collection[str]
) -> tuple[list[ModelPair], list[ReportedModel]]:
    """The models of both reports that belong together, then the old ones that have vanished.

    Models are paired by their spec's path. One whose spec is among those `gone` is paired by its
    network, where exactly one new spec has the same. A spec that is there and did not run says nothing.
    """
    before, after = ({m["spec"]: ReportedModel(m) for m in models} for models in (old, new))
    pairs = [ModelPair(before[spec], after[spec]) for spec in after if spec in before]
    lost = [model for spec, model in before.items() if spec in gone and spec not in after]
    fresh = [model for spec, model in after.items() if spec not in before]
    for likeness in (_hash, _structure):
        for model in list(lost):
            same = [other for other in fresh if likeness(other) == likeness(model)]
            if len(same) == 1 and sum(likeness(m) == likeness(model) for m in lost) == 1:
                pairs.append(ModelPair(model, same[0]))
                lost.remove(model)
                fresh.remove(same[0])
    return pairs, lost


def _hash(model: ReportedModel) -> object:
    return model.record["param_sha256"]


def _structure(model: ReportedModel) -> object:
    return model.network.operators, model.network.producers
