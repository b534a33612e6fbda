"""Checks the masks that the .param or the spec already has: which are unsafe, which are redundant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.masks import (
    NO_BF16_STORAGE,
    NO_FP16_ARITHMETIC,
    NO_FP16_STORAGE,
    NO_VULKAN,
    NO_WINOGRAD,
    unsafe_on_vulkan,
)
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.repair.search import Spent, ddmin
from pytest_ncnn_parity.repair.trials import SearchBudget, Trials

# A gate runs often, and most existing masks are needed: this check may use fewer runs than a repair.
REDUNDANT_RUNS = 40
REDUNDANT_SECONDS = 30.0

# the bits that a fix may consist of; others choose int8, sgemm or threads
REPAIRING = NO_VULKAN | NO_FP16_STORAGE | NO_FP16_ARITHMETIC | NO_BF16_STORAGE | NO_WINOGRAD


class Notice(Frozen):
    """A notice about a layer's mask, which is no verdict: `unsafe` or `redundant`."""

    layer: str
    mask: int
    kind: str
    what: str


def notices(run: SpecRun, with_search: bool) -> tuple[list[Notice], list[str]]:
    """The notices on the masks of the spec and its model, and why some of them are not known.

    `with_search`: also find the redundant ones.
    """
    found = list(lint(run.plan))
    if not with_search or not masked(run.plan):
        return found, []
    try:
        return found + redundant(run), []
    except EngineError as error:
        return found, [f"no search for redundant masks: {error}"]


def lint(plan: Plan) -> Iterator[Notice]:
    """What the file and the spec show on their own, without a device."""
    compared = plan.spec.comparisons
    halves = {c.half for c in compared if c.candidate and c.candidate.on_vulkan and c.half}
    for layer in plan.masked.layers:
        taken = " and ".join(sorted(half for half in halves if unsafe_on_vulkan(layer.mask, half)))
        if taken:
            yield Notice(
                layer.name,
                layer.mask,
                "unsafe",
                f"takes {taken} storage from a layer that may stay on Vulkan: its shader then reads "
                f"{taken} as fp32. Write 31={layer.mask | NO_VULKAN}",
            )


def masked(plan: Plan) -> list[Layer]:
    """The layers whose masks decide where, in which format or by which kernel they run."""
    return [layer for layer in plan.masked.layers if layer.mask & REPAIRING]


def redundant(run: SpecRun) -> list[Notice]:
    """The masks without which, all removed at once, every comparison stays right on all samples.

    There are none if something is red, which is left to the search for a fix; nor if only a part of the
    spec was selected, or a comparison on Vulkan did not run. If the budget ends the search, they are
    those that are known by then.
    """
    numbers = run.once_kept("redundant", list[int], lambda: _redundant(run)) or ()
    return [
        Notice(layer.name, layer.mask, "redundant", f"every comparison that ran stays right {without}")
        for layer in masked(run.plan)
        if layer.number in numbers
        for left in [layer.mask & ~REPAIRING]
        for without in [f"with 31={left} in its place" if left else "without it"]
    ]


def _redundant(run: SpecRun) -> list[int]:
    results = [r for sample in run.selected for r in run.results(sample).values()]
    ran = {result.id.partition("::")[0] for result in results if result.outcome == "passed"}
    comparisons = [one for one in run.plan.spec.comparisons if one.name in ran and one.masks_can_fix]
    red = any(result.outcome == "failed" for result in results)
    if red or not _all_vulkan_ran(run, ran):
        return []
    layers = masked(run.plan)
    cases = [case for comparison in comparisons for case in run.plan.cases(comparison)]
    near = _concerned(run.plan, cases, layers)
    by_sample = {
        sample: [case for case in near if run.plan.runs(sample, case)] for sample in run.plan.spec.inputs
    }
    trials = Trials(run, by_sample, SearchBudget(REDUNDANT_RUNS, REDUNDANT_SECONDS))
    needed = [layer.number for layer in layers]

    def holds(kept: Sequence[int]) -> bool:
        nonlocal needed
        taken = {layer.number for layer in layers}.difference(kept)
        right = trials.right_under(
            [n.mask & ~REPAIRING if n.number in taken else n.mask for n in run.plan.masked.layers]
        )
        if right:
            needed = list(kept)
        return right

    with suppress(Spent):  # then `needed` is the last set that passed
        ddmin(needed, holds)
    return [layer.number for layer in layers if layer.number not in needed]


def _all_vulkan_ran(run: SpecRun, ran: set[str]) -> bool:
    """Whether the whole spec was selected and each comparison on Vulkan compared something."""
    plan = run.plan
    vulkan = {c.name for c in plan.spec.comparisons if c.candidate is not None and c.candidate.on_vulkan}
    return bool(vulkan) and vulkan <= ran and all(map(run.has_selected_all, plan.spec.inputs))


def _concerned(plan: Plan, cases: list[Case], layers: list[Layer]) -> list[Case]:
    """The outputs, the masked layers and their neighbours: what the loss of a mask could turn red."""
    graph = plan.masked
    near = {layer.number for layer in layers}
    for layer in layers:
        near |= {one.number for one in (*graph.makers(layer), *graph.readers(layer))}
    return [case for case in cases if case.layer is None or case.layer.number in near]
