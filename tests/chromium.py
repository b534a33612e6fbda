"""Headless Chromium for the tests of the HTML report: started once, asked for one page after another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from pytest_ncnn_parity.report import html

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1200,900"
).split()
PATIENCE = 120  # seconds; a machine may be busy


class Browser:
    """A Chromium, and the page that it shows."""

    def __init__(self, driver: Chrome, folder: Path) -> None:
        self.driver = driver
        self._folder = folder

    def show(self, document: Any, *, dark: bool = False, width: int = 1200) -> None:
        """Write the page of `document`, and load it from the file."""
        page = self._folder / "report.html"
        page.write_text(html.render(document), "utf-8", "backslashreplace")
        self.dark(dark)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())
        self.wait("document.documentElement.dataset.ready")

    def dark(self, dark: bool = True) -> None:
        """Have dark colours preferred from now on, or light ones."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression is true."""
        WebDriverWait(self.driver, PATIENCE, 0.05).until(lambda _: self.run(f"return {condition}"))

    def charts(self) -> None:
        """Scroll to the charts, and wait until they are drawn."""
        self.run("document.querySelector('.charts').scrollIntoView()")
        self.wait("document.querySelector('section.model').dataset.drawn")

    def run(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def log(self) -> list[Any]:
        """What the console has logged since the last call: errors, refusals of the policy."""
        return list(self.driver.get_log("browser"))

    def column(self, name: str) -> list[str]:
        """The cells of the table of cases below a heading, top to bottom."""
        heads = [head.text.split(" ▲")[0].split(" ▼")[0] for head in self.all("table.cases thead th")]
        place = heads.index(name)
        rows = "return [...document.querySelectorAll('table.cases tbody tr:not(.details)')]"
        return list(self.run(f"{rows}.map((row) => row.cells[{place}].textContent)"))

    def choose(self, name: str, value: str) -> None:
        """Set one of the table's filters as a user does."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', "
        self.run(script + "{bubbles: true}))", self.find(f".filters [name={name}]"), value)

    def points(self, chart: str, source: str = "points") -> dict[str, list[Any]]:
        """What a chart of the first model shows, as Bokeh holds it."""
        return dict(self.run(f"{VIEW} return source(arguments[1]).data", chart, source))

    def pointer(self, chart: str, point: int) -> ActionChains:
        """The mouse, moved onto a point of a chart."""
        canvas = self.find(f"[data-chart={chart}]")
        self.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
        x, y = self.run(f"{VIEW}{PLACE}", chart, point)
        size = canvas.size
        dx, dy = round(x - size["width"] / 2), round(y - size["height"] / 2)
        return ActionChains(self.driver).move_to_element_with_offset(canvas, dx, dy)


VIEW = """
    const target = document.querySelector(`[data-chart=${arguments[0]}]`);
    const view = [...Bokeh.index].find((view) => target.contains(view.el));
    const named = (name) => view.model.select(name);
    const source = (name) => named(name).find((made) => made.type === "ColumnDataSource");
"""
TOOLTIP = """
    const seen = (within) => [...within.children].map((child) =>
        (child.matches(".bk-Tooltip") ? child.shadowRoot.textContent : "") + seen(child) +
        (child.shadowRoot ? seen(child.shadowRoot) : "")).join("");
    return seen(document.body);
"""
PLACE = """
    const [box, frame] = [view.el.getBoundingClientRect(), view.frame];
    const around = target.getBoundingClientRect();
    const at = (name) => source("points").data[name][arguments[1]];
    const x = frame.x_scale.compute(at("x")) + box.x - around.x;
    return [x, frame.y_scale.compute(at("y")) + box.y - around.y];
"""


def start(folder: Path) -> Iterator[Browser]:
    """A browser, for a fixture to yield. Its absence is a skip; in CI, where it must be, a failure."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        missing = "chromium and chromedriver are not installed: apt install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = Chrome(options=options, service=Service(driver))
    opened.set_script_timeout(PATIENCE)
    try:
        yield Browser(opened, folder)
    finally:
        opened.quit()
