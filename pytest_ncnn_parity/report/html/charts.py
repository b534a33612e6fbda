"""The two charts of a model, made with Bokeh and empty: the page's script fills in the data."""

from __future__ import annotations

from bokeh.embed import json_item
from bokeh.models import (
    BasicTicker,
    BoxAnnotation,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Label,
    NumeralTickFormatter,
    Span,
    TapTool,
)
from bokeh.plotting import figure

from pytest_ncnn_parity.compare.number_formats import FP16_MAX, FP16_NORMAL

POINTS = "x y size shape fill line name what".split()


def charts() -> dict[str, object]:
    """Bokeh's JSON of both charts, by name: `errors` and `ranges`."""
    return {"errors": json_item(_errors()), "ranges": json_item(_ranges())}


def _errors() -> figure:
    """Error per layer: own as points, accumulated as a line, the tolerance as steps."""
    chart = _chart("error / largest value")
    allowed = ColumnDataSource(data={"x": [], "y": []}, name="allowed")
    chart.step("x", "y", source=allowed, mode="center", line_width=1.5, line_dash="6 3", name="allowed")
    accumulated = ColumnDataSource(data={"x": [], "y": []}, name="accumulated")
    chart.line("x", "y", source=accumulated, line_width=1.2, name="accumulated")
    _points(chart)
    return chart


def _ranges() -> figure:
    """Largest absolute value per layer, and between which limits fp16 holds it."""
    chart = _chart("largest |value|")
    for name, at in (("max", FP16_MAX), ("least", FP16_NORMAL)):
        chart.add_layout(
            Span(location=at, dimension="width", line_width=1.5, line_dash="6 3", name=f"fp16-{name}")
        )
    _points(chart)
    return chart


def _chart(label: str) -> figure:
    chart = figure(
        height=260,
        sizing_mode="stretch_width",
        y_axis_type="log",
        x_range=(-1, 1),
        y_range=(1e-8, 1),
        tools="xpan,xbox_zoom,xwheel_zoom,reset",
        active_drag="xbox_zoom",
        active_scroll=None,
        toolbar_location="above",
        output_backend="canvas",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        x_axis_label="layer number",
        y_axis_label=label,
        min_border_left=70,
    )
    chart.toolbar.logo = None
    chart.xaxis.ticker = BasicTicker(min_interval=1)
    chart.xaxis.formatter = NumeralTickFormatter(format="0")
    chart.xgrid.visible = False
    # the bands of inf and 0 have no ticks
    chart.yaxis.ticker = chart.ygrid.ticker = FixedTicker(ticks=[])
    for axis in (*chart.xaxis, *chart.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "12px"
        axis.major_label_text_font_size = "12px"
        axis.minor_tick_line_color = None
    return chart


def _points(chart: figure) -> None:
    points = ColumnDataSource(data={name: [] for name in POINTS}, name="points")
    markers = chart.scatter(
        "x",
        "y",
        source=points,
        size="size",
        marker={"field": "shape"},
        fill_color={"field": "fill"},
        line_color={"field": "line"},
        line_width=1.2,
        nonselection_alpha=1.0,
        name="points",
    )
    # neither has a place on a logarithmic scale, so each has a band of its own
    for edge in ("inf", "0"):
        chart.add_layout(BoxAnnotation(line_color=None, fill_alpha=0.5, level="underlay", name=edge))
        chart.add_layout(
            Label(x=2, x_units="screen", y=1, text=edge, text_font_size="12px", text_baseline="middle")
        )
    names = ColumnDataSource(data={"x": [], "y": [], "text": [], "align": [], "dx": []}, name="names")
    chart.text(
        "x",
        "y",
        text="text",
        source=names,
        text_align={"field": "align"},
        text_baseline="middle",
        text_font_size="12px",
        text_font_style="bold",
        x_offset={"field": "dx"},
        name="names",
    )
    chart.add_tools(
        HoverTool(renderers=[markers], tooltips=[("", "@name"), ("", "@what")], mode="mouse"),
        TapTool(renderers=[markers]),
    )
