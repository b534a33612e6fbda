"""The C++ twin of a repro's script: the same layer, inputs and tolerance, with ncnn alone."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from string import Template

from pytest_ncnn_parity.compare.comparisons import Setup
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import Isolated
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.report.document import WorkerEnvironment
from pytest_ncnn_parity.report.repro import script
from pytest_ncnn_parity.report.repro.script import FailedLayer

TEMPLATE = "repro.cpp.in"
NO_BOUND = -1e308  # cosine and SQNR are never below this


def text(plan: Plan, failed: FailedLayer, environment: WorkerEnvironment, isolated: Isolated) -> str:
    """The whole file; `isolated` is what the worker wrote of the layer, one of ncnn's own operators."""
    comparison = failed.case.comparison
    candidate = failed.candidate or comparison.reference
    options = dict.fromkeys([*script.options(comparison.reference), *script.options(candidate)])
    tried = script.runs(failed) if failed.candidate is not None else 0
    template = Template(resources.files(__package__).joinpath(TEMPLATE).read_text("utf-8"))
    return template.substitute(
        header="\n".join(commented(line) for line in script.header(plan, failed, environment)),
        inputs=_rows(f"{{{quoted(blob)}, {quoted(name)}}}" for blob, name in isolated.inputs.items()),
        outputs=_rows(map(quoted, failed.layer.outputs)),
        options="\n".join(f"OPTION({name});" for name in options if name != "vulkan"),
        reference=_setup("reference", comparison.reference),
        candidate=_setup("candidate", candidate),
        tolerance=", ".join(_bounds(failed.tolerance)),
        half="true" if comparison.half == "fp16" else "false",
        underflow="true" if failed.cause == "underflow" else "false",
        integers="true" if failed.holds_bits else "false",
        runs=tried,
    )


def quoted(text: str) -> str:
    """`text` as a string literal of C++, in UTF-8."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-+.,:;/()[]<>=*#@!&|~^%$"
    data = text.encode("utf-8", "surrogateescape")
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in data) + '"'


def _rows(values: Iterable[str]) -> str:
    return ",\n    ".join(values)


def commented(line: str) -> str:
    """`line` as a comment that cannot continue on the next line, as a backslash would make it."""
    plain = "".join(c if c.isprintable() else "?" for c in line).rstrip()
    return f"// {plain}.".rstrip() if plain.endswith("\\") else f"// {plain}".rstrip()


def _setup(name: str, setup: Setup) -> str:
    values = script.options(setup)
    index = values.pop("vulkan")
    lines = [f"    set_{key}(opt, {int(value or 0)}, 0);" for key, value in values.items()]
    device = -1 if index is None else index
    return "\n".join(
        [
            f"static const int {name}_device = {device};  // of Vulkan; -1: the CPU",
            f"static void {name}_options(ncnn::Option& opt)",
            "{",
            *lines,
            "}",
        ]
    )


def _bounds(tolerance: Tolerance) -> list[str]:
    numbers = (tolerance.atol, tolerance.rtol, tolerance.scaled, tolerance.cosine, tolerance.sqnr_db)
    return [repr(NO_BOUND if number is None else float(number)) for number in numbers]
