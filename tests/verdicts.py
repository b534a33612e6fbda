"""Verdicts on a plan's cases by an engine, without pytest's round about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import networks

from pytest_ncnn_parity.diagnose.causes import diagnose
from pytest_ncnn_parity.engine.settings import Settings, share_of_cores
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec import spec as specs


@dataclass(frozen=True)
class Verdict:
    """`text`: what is said of a failure, or the reason of a skip."""

    outcome: str
    cause: str | None = None
    text: str = ""


def plan(folder: Path, compare: str = "[cpu-vs-vulkan]", samples: int = 1) -> Plan:
    """Of the network `net` in `folder`."""
    noise = "".join(f"  s{i}: {{in0: {{random: normal, seed: {i}}}}}\n" for i in range(samples))
    return check.plan(specs.load(networks.spec(folder, f"inputs:\n{noise}compare: {compare}\n")))


def of(
    asked: Plan, timeout: float = 60.0, memory: int | None = None, outputs: bool = True
) -> dict[str, Verdict]:
    """By sample::comparison::name, of all cases, or of layers alone."""
    cases = [case for comparison in asked.spec.comparisons for case in asked.cases(comparison)]
    cases = [case for case in cases if outputs or case.output is None]
    settings = Settings(timeout, share_of_cores(1), memory)
    run = SpecRun(asked, settings, dict.fromkeys(asked.spec.inputs, cases))
    by_case = {}
    try:
        for sample in asked.spec.inputs:
            for case in cases:
                result = run.result(sample, case)
                if result.outcome != "failed":
                    verdict = Verdict(result.outcome, None, result.reason or "")
                elif result.evidence.error is not None:
                    verdict = Verdict("failed", None, result.evidence.error)
                else:
                    why = diagnose(case, result)
                    text = "\n".join([why.what, *why.evidence])
                    verdict = Verdict("failed", why.cause, text)
                by_case[f"{sample}::{case.id}"] = verdict
    finally:
        run.close()
    return by_case


def failed(by_case: dict[str, Verdict]) -> dict[str, str | None]:
    """The causes of what failed."""
    return {name: verdict.cause for name, verdict in by_case.items() if verdict.outcome == "failed"}
