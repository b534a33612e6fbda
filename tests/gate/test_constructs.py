"""Each construct of the table is green, judged layer by layer and by what numpy says it gives."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from conftest import Gate
from constructs.construct import Construct, Fault
from constructs.table import FAMILIES, SPOILT

# why a case of a healthy network tests nothing
ON_THE_CPU = (
    "ncnn {} runs all of them on the CPU, though no mask asks for it",
    "runs on cpu fp32 on both sides, so nothing would be tested",
)
UNTESTED = (
    *ON_THE_CPU,
    "ncnn ignores fp16 on",
    "holds integers, which stay as they are",
    "no layer takes it in 16 bits",
)


def known(case: dict[str, Any], reasons: tuple[str, ...]) -> bool:
    version = metadata.version("ncnn")
    return any(reason.format(version) in case["message"] for reason in reasons)


def faulty(construct: Construct) -> Fault | None:
    """What this ncnn does wrong to it."""
    fault = construct.fault
    return fault if fault is not None and metadata.version("ncnn") >= fault.since else None


def expected_red(construct: Construct) -> dict[tuple[str, str], str]:
    """The layer that ncnn gets wrong, and all outputs, for these networks have no other way to them."""
    fault = faulty(construct)
    if fault is None:
        return {}
    blobs = [fault.layer, *construct.draft()[1]]
    return {(fault.comparison, name): fault.cause for name in blobs}


def problems(cases: list[dict[str, Any]], construct: Construct) -> list[str]:
    """What keeps the network of `construct` from being green."""
    draft, expected = construct.draft()
    faults = expected_red(construct)
    failed = [case for case in cases if case["outcome"] == "failed"]
    red = {(case["comparison"], case["layer"] or case["output"]): case["cause"] for case in failed}
    wrong = [] if red == faults else [f"red: {red}; should be: {faults}"]
    wrong += [f"{case['nodeid']}: {case['message']}" for case in failed if not faults]
    wrong += [
        f"{case['nodeid']}: {case['message']}"
        for case in cases
        if case["outcome"] == "skipped"
        and not known(case, ON_THE_CPU if case["comparison"] == "cpu-vs-vulkan" else UNTESTED)
    ]
    judged = {case["type"] for case in cases if case["comparison"] == "cpu-vs-vulkan" and case["layer"]}
    wrong += [f"no case for {kind}" for kind in draft.operators() if kind not in judged]
    golden = {c["output"] for c in cases if c["comparison"] == "golden" and c["outcome"] == "passed"}
    return wrong + [f"{blob} was not compared with numpy's" for blob in expected if blob not in golden]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_construct_is_green_and_a_spoilt_one_is_not(
    family: str, gate: Gate, pytester: pytest.Pytester
) -> None:
    version = metadata.version("ncnn")
    constructs = [one for one in FAMILIES[family] if version >= one.since]
    spoilt = [one.write(pytester.path, spoilt=True) for one in constructs if one.name in SPOILT]
    for construct in constructs:
        construct.write(pytester.path)
    report = gate().report
    cases = {Path(model["spec"]).name.partition(".")[0]: model["cases"] for model in report["models"]}
    assert cases.keys() == {*spoilt, *(construct.name for construct in constructs)}
    wrong = {construct.name: problems(cases[construct.name], construct) for construct in constructs}
    assert {name: why for name, why in wrong.items() if why} == {}
    cured = {
        fix["comparison"]: fix for model in report["models"] for fix in model["fixes"] if fix["masks"]
    }
    faults = [fault for construct in constructs if (fault := faulty(construct)) is not None]
    assert {fault.comparison for fault in faults} == cured.keys()
    for fault in faults:
        assert cured[fault.comparison]["verified"]
        assert cured[fault.comparison]["masks"].keys() == {fault.layer}
    on_vulkan = [
        case
        for name in wrong
        for case in cases[name]
        if case["comparison"] == "fp16-vs-fp32-vulkan" and case["outcome"] == "passed"
    ]
    assert len(on_vulkan) >= len(constructs)  # most run there, and each has several layers
    assert spoilt
    for name in spoilt:
        red = {case["cause"] for case in cases[name] if case["outcome"] == "failed"}
        assert red == {"conversion"}, name
