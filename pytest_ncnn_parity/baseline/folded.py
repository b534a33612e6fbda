"""Layers of a saved report that were folded into the weights or the line of another one since. Pure.

A layer that was left out is gone from the network as well. So one counts as folded only if the line of
the other one shows that, or if the values at its place are as large as they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from pytest_ncnn_parity.baseline.case_changes import number
from pytest_ncnn_parity.baseline.reported import ReportedModel, ReportedNetwork
from pytest_ncnn_parity.network.param_line import words
from pytest_ncnn_parity.network.versions.folding import (
    ACTIVATION_ID,
    ACTIVATIONS,
    CHANGED_BY_FOLDING,
    FACTORS,
)
from pytest_ncnn_parity.network.versions.match import Match
from pytest_ncnn_parity.report.document.case import CaseRecord

_ACTIVATIONS = ACTIVATIONS | {"PReLU"}  # of one slope: a report does not have the slopes
SAME = 0.01  # by which share the largest value may differ: weights may have been rounded to fp16


def folded(old: ReportedModel, new: ReportedModel, layers: Match) -> dict[int, list[int]]:
    """By layer now, those then whose work it does: itself as it was, and what was folded into it.

    `layers`: the pairs of layers. Layers are numbered from 0.
    """
    found: dict[int, list[int]] = {}
    for then, (now, _) in layers.items():
        kind = new.network.types[now]
        if kind == old.network.types[then] and kind in CHANGED_BY_FOLDING:
            activates = _states(new.network, now, ACTIVATION_ID)
            chain = [then, *_behind(old.network, layers, then, activates)]
            shown = _shows_bias(old.network, then, new.network, now) or _is_activation(old, chain[1:])
            if len(chain) > 1 and (shown or _are_as_large(old, chain[-1], new, now)):
                found[now] = chain
    return found


def as_one(last: CaseRecord, inside: Iterable[CaseRecord]) -> CaseRecord:
    """The case of the `last` of the layers that are one now, red if any was, with their largest error.

    A layer's error is its own, and what was folded into a Convolution has next to none: a ReLU has 0.
    """
    merged = last.copy()
    for case in inside:
        if case["outcome"] == "failed":
            merged["outcome"] = "failed"
        own, known = case["metrics"], merged["metrics"]
        if own is not None and known is not None and number(own["scaled"]) > number(known["scaled"]):
            merged["metrics"] = {**known, "scaled": own["scaled"]}
    return merged


def _behind(network: ReportedNetwork, layers: Match, layer: int, activates: bool) -> Iterator[int]:
    """Yield the layers without a counterpart that one after the other alone read `layer`.

    The last one may be an activation, if the other network's layer `activates`.
    """
    while len(network.consumers[layer]) == 1:
        layer = network.consumers[layer][0][0]
        kind = network.types[layer]
        if layer in layers or kind not in (FACTORS | _ACTIVATIONS if activates else FACTORS):
            return
        yield layer
        if kind in _ACTIVATIONS:
            return


def _is_activation(model: ReportedModel, behind: list[int]) -> bool:
    """Whether nothing but an activation is `behind`, which the line of the other layer states."""
    return [model.network.types[layer] in _ACTIVATIONS for layer in behind] == [True]


def _shows_bias(old: ReportedNetwork, then: int, new: ReportedNetwork, now: int) -> bool:
    """Whether a layer has a bias now and had none then: that of the factors behind it."""
    key = "1" if new.types[now] == "InnerProduct" else "5"
    return _states(new, now, key) and not _states(old, then, key)


def _states(network: ReportedNetwork, layer: int, key: str) -> bool:
    """Whether a parameter that is 0 by default is written as something else."""
    stated = dict(text.partition("=")[::2] for text in words(network.layers[layer]["params"]))
    return stated.get(key, "0") != "0"


def _are_as_large(old: ReportedModel, then: int, new: ReportedModel, now: int) -> bool:
    """Whether the largest values of two layers are the same in all cases that both reports have."""
    before, after = _largest(old, then), _largest(new, now)
    common = before.keys() & after.keys()
    return bool(common) and all(math.isclose(before[k], after[k], rel_tol=SAME) for k in common)


def _largest(model: ReportedModel, layer: int) -> Mapping[tuple[str, str], float]:
    """By sample and comparison, the largest value of a layer in the reference."""
    return {
        (key.sample, key.comparison): float(metrics["reference_absmax"])
        for key, case in model.cases.items()
        if key.target == layer and (metrics := case["metrics"]) is not None
    }
