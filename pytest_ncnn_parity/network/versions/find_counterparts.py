"""Matches the layers of another model with those of this model, as `Counterparts`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pytest_ncnn_parity.base.errors import listed, quoted
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.network.operator_kinds import RECURRENT
from pytest_ncnn_parity.network.versions.apart import apart
from pytest_ncnn_parity.network.versions.cones import views_of
from pytest_ncnn_parity.network.versions.counterparts import Counterparts
from pytest_ncnn_parity.network.versions.directions import are_in_both_directions
from pytest_ncnn_parity.network.versions.folding import CHANGED_BY_FOLDING, applies_function
from pytest_ncnn_parity.network.versions.match import PLACE, Match, match
from pytest_ncnn_parity.network.versions.merged import merged
from pytest_ncnn_parity.network.versions.read_in_place import read_alike
from pytest_ncnn_parity.network.versions.units import Units, equivalent, is_copy
from pytest_ncnn_parity.network.versions.weight_digests import Digest, digests

MOST_MOVED = 16  # where more activations differ, another network was compared


class Unlike(Exception):
    """The other model is not another version of the same network; the text says why."""


def counterparts(here: Graph, there: Graph, files: tuple[Path, Path] | None = None) -> Counterparts:
    """Match the layers of `there` with those of `here`. Raises Unlike if they are two networks.

    `files`: their weights, which are looked at where names and structure leave a doubt.
    """
    own, other, matched, same = _units(here, there, files)
    pairs, blobs = _merged(own, other, matched, same)
    partner, back = _both_ways(pairs)
    makers, makers_there = _makers(own), _makers(other)
    one_to_one = [unit for unit, pair in pairs.items() if pair == matched.get(unit)]
    parts = {unit for unit in one_to_one if _gives_more(own, other, unit, partner[unit])}
    for unit in one_to_one:
        # a converter may move a Reshape behind the layer that it was in front of
        mine, its = makers[unit], makers_there[partner[unit]]
        if unit not in parts and partner.get(mine, its) == its and back.get(its, mine) == mine:
            blobs |= equivalent(own, other, unit, partner[unit])
    equal_units = frozenset(unit for unit, there in same.items() if partner.get(unit) == there)
    for ours, theirs in read_alike(own, other, partner, equal_units, parts):
        blobs = {here: there for here, there in blobs.items() if ours != here and theirs != there}
        blobs[ours] = theirs
    known = {blob: blobs[source] for blob, source in own.sources.items() if source in blobs}
    inputs = _inputs(here, there, known)
    outputs = _paired(here.outputs, there.outputs, known)
    for blob, counter in (*inputs.items(), *outputs.items()):
        blobs.setdefault(own.sources[blob], other.sources[counter])
    found = Counterparts(
        here, there, inputs, outputs, _one_to_one(blobs), pairs, own, other, same_weights=equal_units
    )
    return _ending(_in_place(found))


def _units(
    here: Graph, there: Graph, files: tuple[Path, Path] | None
) -> tuple[Units, Units, Match, dict[int, int]]:
    """The units of both networks, and what `_matched` says of them. Raises Unlike."""
    # where one file has a layer in both directions, the other may have two that are joined
    joins = are_in_both_directions(there), are_in_both_directions(here)
    own, other = Units(here, joins[0]), Units(there, joins[1])
    matched, same = _matched(own, other, files)
    partner, back = _both_ways(matched)
    ours, theirs = apart(other, own, back), apart(own, other, partner)
    if ours or theirs:
        own, other = Units(here, joins[0], ours), Units(there, joins[1], theirs)
        matched, same = _matched(own, other, files)
    return own, other, matched, same


def _matched(own: Units, other: Units, files: tuple[Path, Path] | None) -> tuple[Match, dict[int, int]]:
    """The matched units, and those with the same weights, if these were looked at. Raises Unlike."""
    same: dict[int, int] = {}

    def equal() -> dict[int, int]:
        same.update({} if files is None else _equal_weights(own, other, files))
        return same

    pairs = match(own, other, equal)
    pairs = {unit: one for unit, one in pairs.items() if not _in_other_layouts(own, other, unit, one[0])}
    if not any(own.units[unit].core.type != "Input" and by != PLACE for unit, (_, by) in pairs.items()):
        raise Unlike(
            f"no layer of {other.graph.file} matches one of this model, neither by name nor by structure"
        )
    return pairs, same


def _merged(
    own: Units, other: Units, matched: Match, same: Mapping[int, int]
) -> tuple[Match, dict[str, str]]:
    """`matched`, but with the sum of several layers in place of one where one was made of them.

    With the blobs that correspond there. A layer in `same` has weights of its own.
    """
    pairs, blobs = dict(matched), dict[str, str]()
    partner, back = _both_ways(matched)
    for one in merged(own, other, partner):
        if one.alike not in same:
            pairs[one.several] = pairs.pop(one.alike)
            blobs |= one.blobs
    for one in merged(other, own, back):
        if one.one not in same:
            _, by = pairs.pop(one.one)
            pairs[one.one] = one.several, by
            blobs |= {ours: theirs for theirs, ours in one.blobs.items()}
    return pairs, blobs


def _inputs(here: Graph, there: Graph, known: Mapping[str, str]) -> dict[str, str]:
    """The inputs of both networks paired; those that neither values nor names tell, in their order.

    Raises Unlike if there are fewer or more of these in one of them.
    """
    inputs = _paired(here.inputs, there.inputs, known)
    left, more = _left(here.inputs, inputs), _left(there.inputs, inputs.values())
    if len(left) != len(more):
        theirs, ours = (listed([*map(quoted, graph.inputs)]) for graph in (there, here))
        raise Unlike(f"{there.file} has other inputs: {theirs}, where this model has {ours}")
    return inputs | dict(zip(left, more, strict=True))


def _ending(found: Counterparts) -> Counterparts:
    """`found`, with an output's own blob where a layer then has the same operators on both sides.

    So the last layers may have changed places, as a Softmax and a Permute do.
    """
    for blob in found.moved:
        source, there = found.sources[blob], found.source_there(found.outputs[blob])
        others = {ours: theirs for ours, theirs in found.blobs.items() if theirs != there}
        ended = replace(found, blobs=others | {source: there})
        number = found.here.producer[source].number
        if _has_same_operators(ended, number) and not _has_same_operators(found, number):
            found = ended
    return found


def _has_same_operators(found: Counterparts, number: int) -> bool:
    """Whether the counterpart of the layer `number` has the operators of those that it replaces."""
    one = found.of.get(number)
    kinds = [] if one is None else [_computing(one.layers), _computing(one.replaced)]
    return bool(kinds) and kinds[0] == kinds[1]


def _computing(layers: Iterable[Layer]) -> Counter[str]:
    return Counter(one.type for one in layers if not is_copy(one))


def _in_place(found: Counterparts) -> Counterparts:
    """`found` without blobs that are computed from others than here, as where a layer was moved."""
    while wrong := (found.misplaced | _moved(found)) - found.outputs.keys():
        blobs = {here: there for here, there in found.blobs.items() if here not in wrong}
        found = replace(found, blobs=blobs)
    return found


def _moved(found: Counterparts) -> set[str]:
    """The first blobs in front of which the networks have other numbers of activations, as if one moved.

    None if all differ in one direction: then an activation is missing, or is one too many.
    """
    more = {
        number: sum(map(applies_function, one.replaced)) - sum(map(applies_function, one.layers))
        for number, one in found.of.items()
    }
    differing = [number for number, count in more.items() if count]
    inner = [n for n in differing if not found.outputs.keys() & found.of[n].outputs.keys()]
    signs = {more[number] > 0 for number in differing}
    if len(signs) < 2 or not inner or len(differing) > MOST_MOVED:
        return set()
    return set(found.of[min(inner)].outputs)


def _both_ways(pairs: Match) -> tuple[dict[int, int], dict[int, int]]:
    """By unit here the one there, and by unit there the one here."""
    partner = {unit: counterpart for unit, (counterpart, _) in pairs.items()}
    return partner, {counterpart: unit for unit, counterpart in partner.items()}


def _equal_weights(own: Units, other: Units, files: tuple[Path, Path]) -> dict[int, int]:
    """Pairs of units with the same weights, which no other unit of either network has."""
    found = [digests(units.graph, path) for units, path in zip((own, other), files, strict=True)]
    ours, theirs = map(_by_rounded, found)
    numbers = [
        {unit.core.number: n for n, unit in enumerate(units.units) if not unit.joined}
        for units in (own, other)
    ]
    alone = (
        (here[0], theirs[digest][0])
        for digest, here in ours.items()
        if len(here) == len(theirs.get(digest, ())) == 1
    )
    return {
        numbers[0][here]: numbers[1][there]
        for here, there in alone
        if here in numbers[0] and there in numbers[1] and found[0][here].is_same(found[1][there])
    }


def _by_rounded(found: Mapping[int, Digest]) -> dict[bytes, list[int]]:
    layers: dict[bytes, list[int]] = {}
    for layer, digest in found.items():
        for half in digest.as_half:
            layers.setdefault(half, []).append(layer)
    return layers


def _gives_more(own: Units, other: Units, unit: int, counterpart: int) -> bool:
    """Whether one of two layers has more outputs, as where the other is a part of what it was."""
    pair = own.units[unit], other.units[counterpart]
    outputs = [None if one.product is None else one.product[0] for one in pair]
    if None not in outputs:
        return outputs[0] != outputs[1]
    ours, theirs = (one.core for one in pair)
    if ours.type in RECURRENT:
        return pair[0].is_in_both_directions != pair[1].is_in_both_directions
    key = "8" if ours.type == "Gemm" else "0" if ours.type in CHANGED_BY_FOLDING else ""
    return ours.params.get(key) != theirs.params.get(key)


def _in_other_layouts(own: Units, other: Units, unit: int, counterpart: int) -> bool:
    """Whether one is a Convolution of a map, and the other a product of its places as rows."""
    sides = ((own, unit), (other, counterpart))
    cores = {units.types[number] for units, number in sides}
    if len(cores) < 2 or "Convolution" not in cores:
        return False
    permuted = {
        any(units.types[_makers(units)[maker]] == "Permute" for maker, _ in units.producers[number])
        for units, number in sides
    }
    return len(permuted) == 2


def _makers(units: Units) -> list[int]:
    """For each unit the one that computes its values: itself, or for a Reshape the one before it."""
    makers = list(range(len(units.units)))
    for view in sorted(views_of(units)):
        makers[view] = makers[units.producers[view][0][0]]
    return makers


def _one_to_one(blobs: Mapping[str, str]) -> dict[str, str]:
    """For each of `blobs` there with a blob here, only one blob here: the first in running order."""
    taken: dict[str, str] = {}
    for here, there in blobs.items():
        taken.setdefault(there, here)
    return {here: there for there, here in taken.items()}


def _paired(ours: tuple[str, ...], theirs: tuple[str, ...], known: Mapping[str, str]) -> dict[str, str]:
    """The inputs or outputs of both networks paired: by `known`, by name, and a last one left.

    By name alone if both networks have the same names: by these a program feeds and extracts them.
    """
    if set(ours) == set(theirs):
        return {blob: blob for blob in ours}
    pairs = {blob: known[blob] for blob in ours if known.get(blob) in theirs}
    pairs |= {
        blob: blob
        for blob in ours
        if blob not in pairs and blob in theirs and blob not in pairs.values()
    }
    left, there = _left(ours, pairs), _left(theirs, pairs.values())
    return pairs | dict(zip(left, there, strict=True)) if len(left) == len(there) == 1 else pairs


def _left(blobs: tuple[str, ...], paired: Container[str]) -> list[str]:
    return [blob for blob in blobs if blob not in paired]
