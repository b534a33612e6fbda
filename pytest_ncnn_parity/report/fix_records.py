"""Fixes, and notices about masks, as the JSON report holds them."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import get_args

from pytest_ncnn_parity.repair.alternatives import Alternative
from pytest_ncnn_parity.repair.cost import Cost
from pytest_ncnn_parity.repair.existing_masks import Notice
from pytest_ncnn_parity.repair.fix import Fix
from pytest_ncnn_parity.repair.outputs import OutputErrors, worst
from pytest_ncnn_parity.report.document.case import Special
from pytest_ncnn_parity.report.document.fix import (
    AlternativeRecord,
    CostRecord,
    FixRecord,
    MaskNotice,
    NoticeKind,
)

NOTICES: Mapping[str, NoticeKind] = {word: word for word in get_args(NoticeKind)}


def fix_record(fix: Fix, spec_masks: Mapping[str, int]) -> FixRecord:
    """Return a fix as the report holds it, without the patched .param, which the patch replaces.

    `spec_masks`: those that the spec has already, by layer name.
    """
    return {
        "comparison": fix.comparison,
        "masks": dict(fix.masks),
        "spec_masks": dict(spec_masks),
        "verified": fix.verified,
        "minimal": fix.minimal,
        "lines": list(fix.patch.after),
        "before": list(fix.patch.before),
        "how": fix.how,
        "errors": [_error(worst(fix.outputs_before)), _error(worst(fix.outputs_after))],
        "outputs": [
            {
                "output": output,
                "before": _error(_scaled(fix.outputs_before, output)),
                "after": _error(_scaled(fix.outputs_after, output)),
            }
            for output in {**fix.outputs_before, **fix.outputs_after}
        ],
        "notes": list(fix.notes),
        "runs": fix.effort.runs,
        "seconds": fix.effort.seconds,
        "start": fix.effort.start,
        "cost": None if fix.cost is None else _cost(fix.cost),
        "alternatives": [_alternative(alternative) for alternative in fix.alternatives],
        "patch": fix.patch.diff,
        "written": list(fix.patch.written),
        "in_float": list(fix.in_float),
        "unwritten": fix.unwritten,
        "param": fix.param,
    }


def _scaled(errors: OutputErrors, output: str) -> float | None:
    return errors[output].scaled if output in errors else None


def _error(error: float | None) -> float | Special | None:
    return None if error is None else _finite(error)


def _finite(error: float) -> float | Special:
    return "inf" if error == inf else error


def _cost(cost: Cost) -> CostRecord:
    return {
        "before_ms": cost.before_ms,
        "after_ms": cost.after_ms,
        "rounds": cost.rounds,
        "moved": cost.moved,
        "left": cost.left,
        "uploads": list(cost.uploads),
        "downloads": list(cost.downloads),
    }


def _alternative(alternative: Alternative) -> AlternativeRecord:
    setup = alternative.setup
    return {
        "name": alternative.name,
        "setup": {
            "device": setup.device,
            "precision": setup.precision,
            "options": dict(setup.options),
            "worker": setup.worker,
        },
        "problem": alternative.problem,
        "worst": _finite(alternative.worst),
        "ms": alternative.ms,
    }


def mask_notice(notice: Notice) -> MaskNotice:
    """Return a notice about a mask as the report holds it."""
    return {
        "layer": notice.layer,
        "mask": notice.mask,
        "kind": NOTICES[notice.kind],
        "what": notice.what,
    }
