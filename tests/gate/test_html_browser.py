"""The HTML report in a real browser: it loads, filters, sorts, draws, and lets nothing in."""

from __future__ import annotations

from collections.abc import Iterator

import chromium
import documents
import pytest
from axe_core_python.selenium import Axe
from chromium import Browser
from selenium.webdriver import ActionChains, Keys

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    yield from chromium.start(tmp_path_factory.mktemp("chromium"))


def small() -> dict[str, object]:
    """A network of four: one fine, one inf, one nan, one skipped; and an output."""
    why = documents.message("input not representable")
    cases = [
        documents.case("fine", accumulated=documents.measured(0.002)),
        documents.red("broken", accumulated=documents.measured("inf")),
        documents.red("odd", "nan", metrics=documents.metrics("nan", 2.0, nan=3, inf=0), type="Softmax"),
        documents.case("left", outcome="skipped", metrics=None, **why),
        documents.case("fine", "shipped", metrics=documents.metrics(0.0, 0.0)),
        documents.case("out", layer=None, output="out", type=None, metrics=documents.metrics(0.01)),
    ]
    graph = [documents.layer(name) for name in ("fine", "broken", "odd", "left")]
    graph[2]["type"] = "Softmax"
    return documents.document(documents.model(cases, graph, fixes=[documents.fix("broken")]))


def test_axe_finds_no_violation(browser: Browser) -> None:
    """On a page of two models with all that a page may have, as narrow as a phone; then in the dark."""
    graph = [
        documents.layer("before", outputs=("a",)),
        documents.layer("broken", inputs=("a",), outputs=("b",)),
        documents.layer("behind", inputs=("b",)),
    ]
    cases = [documents.case("before"), documents.red("broken"), documents.case("behind")]
    doubt = ["the input may be at fault", f"smooth: {'x' * 200}"]
    notes = {"notes": ["a note"], "input_doubt": doubt, "fixes": [documents.fix("broken")]}
    models = [documents.model(cases, graph, spec=f"{name}.parity.yaml", **notes) for name in "ab"]
    regressions = [documents.regression("broken", "it is worse")]
    browser.show(documents.document(*models, regressions=regressions), width=390)
    browser.charts()
    found = Axe().run(browser.driver)
    assert len(found["passes"]) > 30
    browser.dark()
    dark = Axe().run(browser.driver, options={"runOnly": ["color-contrast"]})
    assert len(dark["passes"]) == 1
    violations = found["violations"] + dark["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in violations] == []


def test_a_thousand_layers_load_without_an_error_or_a_request(browser: Browser) -> None:
    browser.show(documents.large(), width=1440)
    assert browser.run("return Number(document.documentElement.dataset.ready)") < 5000  # ms
    table = "document.querySelector('table.cases')"
    assert browser.run(f"return {table}.scrollWidth <= {table}.parentElement.clientWidth")
    browser.charts()
    assert browser.log() == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.find("[data-shown]").text == "100 of 4004 shown; 4004 cases in all"
    assert len(browser.points("errors")["x"]) == 1001
    browser.find("[data-more]").click()
    assert len(browser.column("verdict")) == 600


def test_the_red_come_first_and_filters_narrow(browser: Browser) -> None:
    browser.show(small())
    assert browser.column("verdict") == ["failed", "failed", "passed", "passed", "passed", "skipped"]
    browser.choose("verdict", "failed")
    assert browser.column("layer or output") == ["broken", "odd"]
    browser.choose("cause", "nan")
    assert browser.column("layer or output") == ["odd"]
    assert browser.find("[data-shown]").text == "1 of 1 shown; 6 cases in all"
    browser.choose("operator", "ReLU")
    assert browser.column("layer or output") == []
    browser.find(".filters [type=reset]").click()
    browser.wait("document.querySelectorAll('table.cases tbody tr').length === 6")
    browser.choose("name", "BROK")
    assert browser.column("layer or output") == ["broken"]
    browser.choose("name", "")
    browser.choose("comparison", "shipped")
    assert browser.column("layer or output") == ["fine"]


def test_sorting_knows_inf_nan_and_nothing(browser: Browser) -> None:
    browser.show(small())
    heads = {head.text.split(" ")[0]: head for head in browser.all("table.cases thead th")}
    error = heads["error"]
    error.find_element("tag name", "button").click()
    assert browser.column("error") == ["0", "0.0012", "0.01", "inf", "nan", ""]
    assert error.get_attribute("aria-sort") == "ascending"
    error.find_element("tag name", "button").click()
    assert browser.column("error") == ["nan", "inf", "0.01", "0.0012", "0", ""]
    assert error.get_attribute("aria-sort") == "descending"
    assert heads["verdict"].get_attribute("aria-sort") == "none"


def test_the_keyboard_is_enough(browser: Browser) -> None:
    browser.show(small())

    def focused(script: str) -> object:
        return browser.run(f"return document.activeElement.{script}")

    def press(*keys: str) -> None:
        ActionChains(browser.driver).send_keys(*keys).perform()

    press(Keys.TAB)
    assert focused("textContent") == "Skip to the models"
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press(Keys.ENTER)
    assert focused("id") == "main"
    for _ in range(40):
        press(Keys.TAB)
        if focused("name") == "name":
            break
    press(*"odd")
    assert browser.column("layer or output") == ["odd"]
    for _ in range(40):
        press(Keys.TAB)
        if focused("className") == "open":
            break
    assert focused("ariaExpanded") == "false"
    press(Keys.ENTER)
    assert focused("ariaExpanded") == "true"
    details = browser.find("table.cases tr.details").text
    assert "odd reaches 3000468 in fp32" in details
    assert "cosine nan" in details
    press(Keys.ENTER)
    assert browser.all("table.cases tr.details") == []


def test_what_is_no_number_is_drawn_at_the_edge(browser: Browser) -> None:
    browser.show(small())
    browser.charts()
    drawn = browser.points("errors")
    shapes = dict(zip(drawn["name"], drawn["shape"], strict=True))
    assert shapes == {"fine": "circle", "broken": "triangle", "odd": "x", "left": "circle"} | {
        "output out": "circle"
    }
    heights = dict(zip(drawn["name"], drawn["y"], strict=True))
    assert heights["broken"] == heights["odd"] > 0.05 > heights["fine"] > heights["left"] > 0
    band = browser.run("return Bokeh.documents.flatMap((d) => d.roots())[0].left[0].ticker.ticks")
    assert heights["left"] < min(band)
    assert max(band) < heights["broken"]  # no tick stands beside what is no number
    legend = (
        browser.all("[data-chart=errors]")[0]
        .find_element("xpath", "..")
        .find_elements("class name", "key")
    )
    assert {key.text for key in legend} - {""} >= {"inf", "nan", "skipped, not compared"}
    assert "failed" not in {key.text for key in legend}  # both that failed have marks of their own
    ranges = browser.points("ranges")
    marks = list(zip(ranges["name"], ranges["shape"], ranges["what"], strict=True))
    assert ("broken", "triangle", "largest of the candidate (noise): inf") in marks
    assert ("odd", "x", "largest of the candidate (noise): nan") in marks
    label = str(browser.find("[data-chart=errors]").get_attribute("aria-label"))
    assert "red: broken, odd" in label
    line = browser.points("errors", "accumulated")
    assert line["x"][:2] == [0, 1]
    assert line["y"][:2] == [0.002, heights["broken"]]
    allowed = browser.points("errors", "allowed")["y"]
    assert allowed[:2] == pytest.approx([0.05, 0.05], rel=1e-5)


def test_a_layer_in_int8_is_drawn_by_the_criterion_that_it_breaks(browser: Browser) -> None:
    """Its largest error may be as large as its largest value, which is a line that no point reaches."""
    in_int8 = {"atol": 0.0, "rtol": 0.0, "scaled": 1.0, "cosine": None, "sqnr_db": 15.0}
    cases = [
        documents.red(
            "lossy", metrics=documents.metrics(0.3, sqnr_db=10.0, used=1.8), tolerance=in_int8
        ),
        documents.case(
            "fine", metrics=documents.metrics(0.1, sqnr_db=40.0, used=0.1), tolerance=in_int8
        ),
        documents.red("wild", metrics=documents.metrics(2.0, sqnr_db=20.0, used=2.0), tolerance=in_int8),
    ]
    graph = [documents.layer(name) for name in ("lossy", "fine", "wild")]
    browser.show(documents.document(documents.model(cases, graph)))
    browser.charts()
    drawn = browser.points("errors")
    at = dict(zip(drawn["name"], zip(drawn["y"], drawn["what"], strict=True), strict=True))
    allowed = dict(
        zip(("lossy", "fine", "wild"), browser.points("errors", "allowed")["y"], strict=False)
    )
    assert at["lossy"][0] == pytest.approx(10**-0.5)
    assert allowed["lossy"] == pytest.approx(10**-0.75)
    assert at["lossy"][1] == "failed (noise): sqnr_db 10, at least 15"
    assert (at["fine"][0], allowed["fine"]) == (0.1, 1.0)
    assert (at["wild"][0], allowed["wild"]) == (2.0, 1.0)
    assert at["wild"][1] == "failed (noise): error 2, allowed 1"
    assert "where sqnr_db decides, the error is noise / signal" in browser.find("[data-note]").text


def test_the_line_of_what_is_allowed_contradicts_no_verdict(browser: Browser) -> None:
    """As where a natural scale decides: by its largest value, 1e-5, a probability of 0 is all wrong."""
    rare = documents.case("rare", metrics=documents.metrics(1.0, 1e-5, used=0.004))
    row = documents.red("row", metrics=documents.metrics(0.01, used=2.0))
    browser.show(
        documents.document(documents.model([rare, row], [documents.layer(n) for n in ("rare", "row")]))
    )
    browser.charts()
    allowed = browser.points("errors", "allowed")["y"]
    assert sorted({*allowed} - {None}) == pytest.approx([0.005, 250.0])
    drawn = browser.points("errors")
    assert dict(zip(drawn["name"], drawn["what"], strict=True))["rare"].endswith("error 1, allowed 250")


def test_the_charts_follow_the_choice_of_a_comparison(browser: Browser) -> None:
    browser.show(small())
    browser.charts()
    select = browser.find(".charts [name=comparison]")
    assert select.get_attribute("value") == "fp16-vs-fp32-vulkan"
    select.send_keys("shipped")
    assert browser.points("errors")["name"] == ["fine"]
    assert browser.find("[data-note]").text.startswith("--ncnn-parity-accumulated adds")


def test_a_click_on_a_point_shows_its_cases(browser: Browser) -> None:
    browser.show(small())
    browser.charts()
    place = browser.points("errors")["name"].index("broken")
    browser.pointer("errors", place).click().perform()
    browser.wait("document.querySelector('.filters [name=name]').value")
    assert browser.column("layer or output") == ["broken"]


def test_dark_and_light_have_their_own_colours_in_charts_as_well(browser: Browser) -> None:
    seen = []
    for dark in (False, True):
        browser.show(small(), dark=dark)
        browser.charts()
        paper = browser.run("return getComputedStyle(document.body).backgroundColor")
        axis = browser.run(f"{chromium.VIEW} return view.model.left[0].axis_label_text_color", "errors")
        seen.append((paper, axis, tuple(browser.points("errors")["line"])))
    light, night = seen
    assert all(before != after for before, after in zip(light, night, strict=True))
    scheme = {"name": "prefers-color-scheme", "value": "light"}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.wait(
        f"(() => {{ {chromium.VIEW.replace('arguments[0]', repr('errors'))}"
        f"return view.model.left[0].axis_label_text_color === '{light[1]}' }})()"
    )


def test_a_phone_needs_no_scrolling_sideways(browser: Browser) -> None:
    browser.show(documents.large(layers=50, failing=2), width=400)
    browser.charts()
    assert browser.run("return document.documentElement.scrollWidth") <= 400


def test_the_patch_is_copied(browser: Browser) -> None:
    browser.show(small())
    permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", permissions)
    button = browser.find("[data-copy^=patch]")
    button.click()
    browser.wait("document.querySelector('[data-copy^=patch]').textContent !== 'Copy patch'")
    assert button.text == "Copied"
    copied = browser.run("return navigator.clipboard.readText()")
    assert copied == documents.fix("broken")["patch"]


def test_hostile_names_do_nothing(browser: Browser) -> None:
    browser.show(documents.hostile())
    browser.charts()
    browser.pointer("errors", 0).perform()
    browser.wait(f"(() => {{ {chromium.TOOLTIP} }})().includes('alert(1)')")
    for opener in browser.all("button.open"):
        opener.click()
    assert browser.log() == []
    assert browser.run("return document.images.length") == 0
    assert browser.run("return document.querySelectorAll('script').length") == 4
    assert browser.find("table.cases tr.details pre").text.startswith(documents.HOSTILE[:20])


def test_the_matrix_folds_samples_and_leads_to_the_cases(browser: Browser) -> None:
    browser.show(small())
    rows = browser.all("[data-matrix] svg")
    assert [row.get_attribute("aria-label") for row in rows] == [
        "fp16-vs-fp32-vulkan: red: broken, odd",
        "shipped: none is red",
    ]
    assert {part.get_attribute("class") for part in rows[0].find_elements("tag name", "path")} >= {
        "failed",
        "skipped",
    }
    keys = browser.all("[data-matrix] [data-cell]")
    assert [key.text for key in keys if key.is_displayed()] == ["failed", "skipped"]
    width = rows[0].size["width"]
    over_broken = ActionChains(browser.driver).move_to_element_with_offset(
        rows[0], width * (1.5 / 5 - 0.5), 0
    )
    over_broken.perform()
    assert browser.find("[data-under]").text.startswith("broken (")
    over_broken.click().perform()
    assert browser.column("layer or output") == ["broken"]
    assert browser.run("return location.hash") == "#model-0?name=broken&comparison=fp16-vs-fp32-vulkan"


def test_a_link_narrows_the_table(browser: Browser) -> None:
    browser.show(small())
    browser.run("location.hash = '#model-0?verdict=failed&name=od'")
    browser.wait("document.querySelectorAll('table.cases tbody tr').length === 1")
    assert browser.column("layer or output") == ["odd"]
    assert browser.column("max |candidate|") == ["nan"]
    browser.choose("verdict", "")
    assert browser.run("return location.hash") == "#model-0?name=od"


def test_the_command_that_runs_a_case_again_is_there(browser: Browser) -> None:
    browser.show(small())
    browser.find("table.cases button.open").click()
    command = browser.find("table.cases tr.details code").text
    assert command.startswith("pytest --ncnn-parity 'net.parity.yaml::noise::")
    assert command.endswith("::broken'")
