"""Renews the pictures of the docs: `python tests/pictures.py` runs the gate on the style decoder.

Needs Chromium with its driver, and a Vulkan device.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from base64 import b64decode
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import chromium
from PIL import Image

ROOT = Path(__file__).parents[1]
SPEC = "example_models/style_decoder"
WIDTH = 1000  # of the page, in CSS pixels
SCALE = 1.5  # pixels of a picture for one of the page
EDGE = 12  # kept around what is taken, in CSS pixels
COLORS = 128  # of a picture's palette
BOX = (
    "const box = arguments[0].getBoundingClientRect(); return [box.top + scrollY, box.bottom + scrollY]"
)
FOR_A_STILL = """
    for (const part of document.querySelectorAll('.doubt, .doubt + pre')) part.remove();
    for (const view of Bokeh.index) view.model.toolbar_location = null;
"""
CHART_AND_VERDICT = """
    const ranges = document.querySelector('figure:has([data-chart=ranges])');
    const [red, fix] = ['.card.red', '.card.fix'].map((card) => document.querySelector(card));
    const last = fix.querySelector('.diff');
    while (last.nextSibling) last.nextSibling.remove();
    red.open = false;
    document.querySelector('main').replaceChildren(ranges, red, fix);
"""


def report(folder: Path) -> dict[str, Any]:
    """The JSON report of the gate on the example."""
    out = folder / "report.json"
    gate = [sys.executable, "-m", "pytest", "-q", "--tb=no", "--ncnn-parity", SPEC]
    subprocess.run(
        [*gate, f"--ncnn-parity-json={out}", "--ncnn-parity-require-vulkan"], cwd=ROOT, check=False
    )
    document = json.loads(out.read_text("utf-8"))
    document["environment"] |= {"host": None, "commit": None}
    return dict(document)


def taken(browser: chromium.Browser, first: str, last: str) -> Image.Image:
    """What the page shows from the top of one element to the bottom of another, by CSS selectors."""
    top = browser.run(BOX, browser.find(first))[0] - EDGE
    bottom = browser.run(BOX, browser.find(last))[1] + EDGE
    clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top, "scale": 1}
    command = {"format": "png", "captureBeyondViewport": True, "clip": clip}
    shot = browser.driver.execute_cdp_cmd("Page.captureScreenshot", command)
    return Image.open(BytesIO(b64decode(shot["data"]))).convert("RGB")


def save(picture: Image.Image, name: str) -> None:
    palette = picture.quantize(COLORS, dither=Image.Dither.NONE)
    palette.save(ROOT / "docs" / name, optimize=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with contextmanager(chromium.start)(folder) as browser:
            browser.show(report(folder), width=WIDTH)
            sharp = {"width": WIDTH, "height": 900, "deviceScaleFactor": SCALE, "mobile": False}
            browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sharp)
            browser.charts()
            browser.run(FOR_A_STILL)
            save(taken(browser, "header", ".card.fix"), "report.png")
            browser.run(CHART_AND_VERDICT)
            browser.wait(
                "document.querySelector('[data-chart=ranges]').getBoundingClientRect().height > 0"
            )
            save(taken(browser, "figure", ".card.fix"), "range.png")


if __name__ == "__main__":
    main()
