"""Joins template, style, scripts and data into one HTML page that loads nothing else."""

from __future__ import annotations

from importlib import resources

from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from pytest_ncnn_parity.report import highlights
from pytest_ncnn_parity.report.counts import counted
from pytest_ncnn_parity.report.document import Report
from pytest_ncnn_parity.report.html import safe
from pytest_ncnn_parity.report.html.charts import charts
from pytest_ncnn_parity.report.html.columns import columns
from pytest_ncnn_parity.report.html.view import model_parts

SCRIPTS = ("data.js", "table.js", "matrix.js", "charts.js", "page.js")


def render(document: Report) -> str:
    """The whole page of the JSON report's `document`."""
    models = model_parts(document)
    library = _library()
    script = "\n".join(_package_text(name) for name in SCRIPTS)
    return _template().render(
        document=document,
        ran=highlights.where(document),
        devices=highlights.devices(document),
        models=models,
        counts=counted(case for model in document["models"] for case in model["cases"]),
        red=sum(model.verdict == "failed" for model in models),
        style=Markup(_package_text("style.css")),  # noqa: S704 # ours
        library=Markup(library),  # noqa: S704 # Bokeh's
        script=Markup(script),  # noqa: S704 # ours
        hashes=" ".join(safe.csp_hash(text) for text in (library, script)),
        data=safe.script_json(columns(document)),
        charts=safe.script_json(charts()),
    )


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__, "assets"),
        autoescape=True,
        finalize=safe.finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja")


def _library() -> str:
    raw = Resources(mode="inline", components=["bokeh"]).js_raw
    # Bokeh would write this call to the log
    return "\n".join(text for text in raw if not text.startswith("Bokeh.set_log_level"))


def _package_text(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text("utf-8").strip()
