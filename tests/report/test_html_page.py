"""The HTML report as text: valid, whole, small, harmless. A browser shows it in test_html_browser."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import documents
import pytest
from bokeh.resources import Resources
from pages import XHTML, elements, parsed, text

from pytest_ncnn_parity.report.html.columns import columns
from pytest_ncnn_parity.report.html.page import render
from pytest_ncnn_parity.report.html.view import model_parts

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "document",
    [
        documents.document(),
        documents.large(layers=20, failing=3),
        documents.hostile(),
    ],
    ids=["empty", "large", "hostile"],
)
def test_it_is_html_with_a_heading_for_everything(document: dict[str, Any]) -> None:
    root = parsed(render(document))
    levels = [int(e.tag[-1]) for e in root.iter() if re.fullmatch(XHTML + "h[1-6]", str(e.tag))]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    for table in elements(root, "table"):
        assert text(elements(table, "caption")[0])


def test_it_asks_for_nothing(tmp_path: Path) -> None:
    root = parsed(render(documents.large(layers=20, failing=3)))
    for element in root.iter():
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            assert (element.get(name) or "#").startswith("#"), element.attrib
        assert not [name for name in element.attrib if name.startswith("on")]
    policy = elements(root, "meta")[1].get("content")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("style-src")[0]


def test_hostile_names_are_text_and_no_more() -> None:
    page = render(documents.hostile())
    root = parsed(page)
    assert len(elements(root, "script")) == 4
    assert not elements(root, "img")
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\\x1b[31m\\u202eevil" in text(elements(root, "main")[0])
    assert "alert(1)" in text(elements(root, "main")[0])


def test_the_verdict_the_cause_and_the_patch_stand_there_without_a_script() -> None:
    graph = [
        documents.layer("before"),
        documents.layer("square", "BinaryOp", ("before",)),
        documents.layer("after", "UnaryOp", ("square",)),
    ]
    cases = [
        documents.case("before", metrics=documents.metrics(0.001, 1732.0)),
        documents.red("square", type="BinaryOp"),
        documents.red("square", type="BinaryOp", comparison="shipped"),
        documents.case("after", type="UnaryOp", outcome="skipped", metrics=None, execution=None),
    ]
    fixes = [documents.fix("square"), documents.fix("square", "shipped", cost=None)]
    root = parsed(render(documents.document(documents.model(cases, graph, fixes=fixes))))
    assert text(elements(root, "h1")[0]) == "2 cases failed"
    (card,) = [e for e in elements(root, "details") if "red" in (e.get("class") or "")]
    assert text(elements(card, "summary")[0]).startswith(
        "square BinaryOp storage-overflow inf on vulkan fp16, 3 of 3 elements"
    )
    assert "red in fp16-vs-fp32-vulkan (noise), shipped (noise)" in text(card)
    assert "evidence: square reaches 3000468 in fp32" in text(card)
    assert "fix (" not in text(card)  # it has a card of its own
    rows = [text(row) for row in elements(card, "tr")]
    assert rows[1].startswith("reads before ReLU before 1732 vulkan, fp16 storage")
    assert rows[3] == "read by after UnaryOp square 3.00047e+06 skipped"
    (repair,) = elements(root, "article")
    assert "for fp16-vs-fp32-vulkan, shipped" in text(repair)
    assert "".join(elements(repair, "pre")[0].itertext()) == fixes[0]["patch"]
    assert "masks: {square: 18}" in text(repair)
    assert "worst output error 1 → 0.0052" in text(repair)
    assert "25.6 -> 26.1 ms" in text(repair)


def test_layers_of_one_name_have_a_card_and_a_row_each() -> None:
    graph = [
        documents.layer("input", "Input"),
        documents.layer("a", "BinaryOp", ("input",), ("x",)),
        documents.layer("a", "UnaryOp", ("x",), ("y",)),
    ]
    cases = [
        documents.red("a", number=1, type="BinaryOp"),
        documents.red("a", number=2, type="UnaryOp", cause="precision"),
    ]
    model = documents.model(cases, graph)
    root = parsed(render(documents.document(model)))
    cards = [e for e in elements(root, "details") if "red" in (e.get("class") or "")]
    assert [text(elements(card, "summary")[0]).split()[:3] for card in cards] == [
        ["a", "BinaryOp", "storage-overflow"],
        ["a", "UnaryOp", "precision"],
    ]
    rows = [[text(row) for row in elements(card, "tr")] for card in cards]
    assert any(row.startswith("reads input Input") for row in rows[0])
    assert any(row.startswith("reads a BinaryOp x") for row in rows[1])
    assert columns(documents.document(model))["models"][0]["cases"]["layer"] == [1, 2]


def test_a_layer_that_fails_of_two_causes_has_a_card_for_each_with_its_own_words() -> None:
    cases = [
        documents.red("square", headline="inf on vulkan fp16"),
        documents.red("square", "device", comparison="shipped", headline="off by 0.5 on vulkan fp32"),
        documents.red("square", "device", comparison="cpu-vs-vulkan", headline="off by 0.5 on it"),
    ]
    root = parsed(render(documents.document(documents.model(cases, [documents.layer("square")]))))
    cards = [text(e) for e in root.iter() if "card" in (e.get("class") or "").split()]
    shown = [card for card in cards if card.startswith("square")]
    assert len(shown) == 2
    assert "storage-overflow" in shown[0]
    assert "inf on vulkan fp16" in shown[0]
    assert "device" in shown[1]
    assert "off by 0.5 on vulkan fp32" in shown[1]
    assert "shipped" in shown[1]
    assert "cpu-vs-vulkan" in shown[1]


def test_a_patch_is_to_be_applied_once_whatever_comparisons_it_mends() -> None:
    both = ("fp16-vs-fp32-vulkan", "shipped")
    fixes = [documents.fix("l0", one, written=[f"/p/{one}.patch"]) for one in both]
    model = documents.model([documents.red("l0")], [documents.layer("l0")], fixes=fixes)
    (card,) = elements(parsed(render(documents.document(model))), "article")
    assert text(card).count("git apply") == 1


def test_where_a_spec_is_at_fault_its_place_precedes_the_headline() -> None:
    place = {"line": 4, "column": 9}
    refused = documents.red("l1", "load", headline="ncnn reads no weights", details=[], place=place)
    output = documents.red("x", layer=None, output="out0", headline="not the recording's", evidence=[])
    model = documents.model([refused, output], [documents.layer("l1")])
    main = text(elements(parsed(render(documents.document(model))), "main")[0])
    assert "load net.parity.yaml:4:9: ncnn reads no weights red in" in main
    assert "output out0: not the recording's fp16-vs-fp32-vulkan (noise)" in main


def test_the_case_that_passed_by_the_least_is_named_whatever_the_tolerance_consists_of() -> None:
    exact = {"atol": 1e-3, "rtol": 0.0, "scaled": 0.0, "cosine": None, "sqnr_db": None}
    close = documents.metrics(3e-4, least_scaled=0.0, used=0.97)
    cases = [
        documents.case("far", metrics=documents.metrics(1e-9)),
        documents.case("close", metrics=close, tolerance=exact),
    ]
    model = documents.model(cases, [documents.layer("far"), documents.layer("close")])
    main = text(elements(parsed(render(documents.document(model))), "main")[0])
    assert "closest to its limit: close, 97% of its tolerance" in main


def test_one_option_that_does_what_dozens_of_masks_do_precedes_them() -> None:
    names = [f"l{number}" for number in range(20)]
    setup = {"device": "vulkan", "precision": "fp16-storage", "options": {}}
    option = {"name": "use_fp16_arithmetic=False for the whole network", "setup": setup}
    option |= {"problem": "", "worst": 0.01, "ms": 3.0}
    many = documents.fix("l0", lines=names, masks=dict.fromkeys(names, 18), alternatives=[option])
    red, layers = [documents.red("l0")], [documents.layer("l0")]
    model = documents.model(red, layers, fixes=[many])
    (card,) = elements(parsed(render(documents.document(model))), "article")
    said = "use_fp16_arithmetic=False for the whole network is right: outputs within 0.01, 3 ms"
    assert text(card).startswith(f"{said} ; or, by masks: 20 lines of the .param")
    assert text(card).count("use_fp16_arithmetic") == 1
    page = text(parsed(render(documents.document(model, {**model, "spec": "other.parity.yaml"}))))
    assert "use_fp16_arithmetic=False for the whole network, or 20 lines, verified" in page
    few = {**many, "lines": names[:2], "masks": {"l0": 18, "l1": 18}}
    model = documents.model(red, layers, fixes=[few])
    (card,) = elements(parsed(render(documents.document(model))), "article")
    assert text(card).startswith("2 lines of the .param")
    assert "is right as well" in text(card)


def test_where_no_masks_fix_it_the_reason_replaces_the_patch() -> None:
    none = documents.fix("l1", masks={}, lines=[], before=[], patch="", how="fp32 is wrong as well")
    model = documents.model([documents.red("l1")], [documents.layer("l1")], fixes=[none])
    (card,) = elements(parsed(render(documents.document(model))), "article")
    assert text(card).startswith("No mask can fix this for fp16-vs-fp32-vulkan fp32 is wrong as well")
    assert not elements(card, "button")


def test_layers_to_leave_in_floats_stand_there_with_the_lines_of_the_table() -> None:
    lines = ["#l1_param_0", "#l1"]
    own = documents.fix("l1", masks={}, lines=lines, before=[], patch="", how="ran", in_float=["l1"])
    model = documents.model([documents.red("l1")], [documents.layer("l1")], fixes=[own])
    other = documents.model([documents.case("l1")], [documents.layer("l1")], spec="other.parity.yaml")
    page = parsed(render(documents.document(model, other)))
    (card,) = elements(page, "article")
    assert text(card).startswith("leave l1 in floats verified, minimal for fp16-vs-fp32-vulkan")
    assert "#l1_param_0 #l1" in " ".join(text(card).split())
    assert "leave l1 in floats, verified, minimal" in text(page)
    assert "No mask" not in text(page)


def test_notices_regressions_and_a_run_that_was_cut_short_are_reported() -> None:
    notice = {"kind": "redundant", "layer": "l1", "mask": 16, "what": "right without it"}
    model = documents.model([documents.case("l1")], [documents.layer("l1")], masks=[notice])
    more = {
        "complete": False,
        "stopped": "interrupted",
        "regressions": [
            documents.regression("l1", "error grew 40 times", kind="error", sample="noise"),
            documents.regression("l2", "l2 runs on the CPU now"),
        ],
        "errors": [{"spec": "odd.parity.yaml", "message": "odd.parity.yaml:3:1: inputs: missing"}],
    }
    main = text(elements(parsed(render(documents.document(model, **more))), "body")[0])
    assert "The run was cut short: interrupted. What is not here was not run." in main
    assert "redundant 31=16 on l1 : right without it" in main
    assert "error error grew 40 times net.parity.yaml, noise" in main
    assert "moved l2 runs on the CPU now net.parity.yaml" in main
    assert "1 spec could not be used. odd.parity.yaml odd.parity.yaml:3:1: inputs: missing" in main
    assert "All compared cases passed" not in main
    whole = text(elements(parsed(render(documents.document(model))), "body")[0])
    assert "cut short" not in whole
    assert "Against the baseline" not in whole


def test_where_nothing_was_compared_it_says_so() -> None:
    why = documents.message("no Vulkan device")
    case = documents.case("l1", outcome="skipped", metrics=None, **why)
    root = parsed(render(documents.document(documents.model([case], [documents.layer("l1")]))))
    assert text(elements(root, "h1")[0]) == "Nothing was compared"
    assert "nothing was compared: no Vulkan device" in text(elements(root, "main")[0])


def test_a_case_of_which_only_the_name_is_known_is_there() -> None:
    lost = documents.case(
        "l1",
        outcome="failed",
        **documents.message("the process that ran it died\nTraceback"),
        **dict.fromkeys(("type", "tolerance", "execution", "device", "metrics")),
    )
    files = dict.fromkeys(("param", "bin", "param_sha256", "bin_sha256"))
    document = documents.document(documents.model([lost], [], **files))
    page = text(elements(parsed(render(document)), "main")[0])
    assert "l1 the process that ran it died red in fp16-vs-fp32-vulkan (noise) evidence Trace" in page
    (model,) = columns(document)["models"]
    assert model["cases"]["layer"] == [0]
    assert model["tolerances"] == [[None] * 5]


@pytest.mark.parametrize("failing", [12, 1000])
def test_a_thousand_layers_in_four_comparisons_take_less_than_a_megabyte(failing: int) -> None:
    """Beside bokeh's own script, whose size is that of its version."""
    document = documents.large(failing=failing)
    if failing == 1000:
        everything_red(document)
    script = "".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    assert len(render(document).encode()) - len(script.encode()) < 800_000


def everything_red(document: dict[str, Any]) -> None:
    """Every case fails, each with words and numbers of its own."""
    for i, case in enumerate(document["models"][0]["cases"]):
        if case["layer"] is not None:
            red = documents.red(case["layer"], comparison=case["comparison"], type=case["type"])
            red["message"] = red["message"].replace("3 of 3", f"{i} of {i * 7919}") + f"{i}" * 40
            red["metrics"]["reference_absmax"] = 70000.123 * (i + 1)
            case.update(red)


def test_numbers_stay_near_and_what_is_no_number_stays_a_word() -> None:
    metrics = documents.metrics("nan", 65503.98765, max_abs=0.000123456789)
    case = documents.case("l1", metrics=metrics)
    document = documents.document(documents.model([case], [documents.layer("l1")]))
    (model,) = columns(document)["models"]
    assert model["cases"]["scaled"] == ["nan"]
    assert model["cases"]["reference_absmax"] == [65504]
    assert model["cases"]["max_abs"] == [0.0001235]
    json.dumps(model, allow_nan=False)


def test_known_failures_were_compared() -> None:
    document = documents.large(layers=3, failing=1)
    for case in document["models"][0]["cases"]:
        case |= {"outcome": "skipped", "known": case["outcome"] == "failed"}
    (part,) = model_parts(document)
    assert part.verdict == "passed"
    assert not any("nothing was compared" in row.note for row in part.comparisons if row.counts["known"])
    page = render(document)
    row = next(row for row in part.comparisons if row.counts["known"])
    assert f'<td class="n">{row.counts["skipped"]}, {row.counts["known"]} known</td>' in page
    assert "Nothing was compared" not in page


def test_a_model_of_which_only_outputs_are_red_is_not_blank_among_others() -> None:
    out = documents.red("x", "precision", layer=None, output="out0", type=None)
    layers = [documents.layer("fine")]
    cases = [documents.case("fine")]
    red = documents.model([*cases, out], layers, spec="red.parity.yaml")
    both = documents.model([documents.red("broken"), out], layers, spec="both.parity.yaml")
    root = parsed(render(documents.document(red, both, documents.model(cases, layers))))
    head, *rows = elements(elements(root, "nav")[0], "tr")
    column = [text(cell) for cell in head].index("what is red")
    assert [text(list(row)[column]) for row in rows] == [
        "output out0 precision",
        "broken storage-overflow",
        "",
    ]
