"""The HTML report: one file that opens offline. Needs Bokeh and Jinja2; imported to write one only."""

from pytest_ncnn_parity.report.html.page import render

__all__ = ["render"]
