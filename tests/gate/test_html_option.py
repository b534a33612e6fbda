"""`--ncnn-parity-html`: the page is written, or the reason why it cannot be is reported."""

from __future__ import annotations

import sys

import networks
import pytest
from conftest import Gate
from pages import elements, parsed, text

pytestmark = pytest.mark.once


def test_the_option_writes_the_page(gate: Gate, pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    pytester.makeini("[pytest]\nncnn_parity_html = out/report.html\n")
    run = gate("-n", "1")
    root = parsed((pytester.path / "out/report.html").read_text("utf-8"))
    assert text(elements(root, "h1")[0]) == "All compared cases passed"
    assert len(run.cases) == 5
    assert [path.name for path in (pytester.path / "out").iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_an_error(pytester: pytest.Pytester) -> None:
    networks.chain(pytester.path)
    networks.spec(pytester.path, networks.NOISE + "compare: [fp16-range]\n")
    (pytester.path / "taken").write_text("", "utf-8")
    result = pytester.runpytest_subprocess("--ncnn-parity", "--ncnn-parity-html=taken/report.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --ncnn-parity-html=*taken/report.html: cannot be written*"])


def test_without_bokeh_the_option_is_refused_at_the_start(pytester: pytest.Pytester) -> None:
    code = (
        "import sys, importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'bokeh' else find(name, *a)\n"
        "import pytest\n"
        "sys.exit(pytest.main(['--ncnn-parity', *sys.argv[1:]]))\n"
    )
    result = pytester.run(sys.executable, "-c", code, "--ncnn-parity-html=x.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    error = "--ncnn-parity-html needs Bokeh and Jinja2: pip install bokeh jinja2"
    assert error in result.stderr.str()
