"""What crosses a pipe or is kept in a file: strict JSON, without what has its default."""

from __future__ import annotations

import json
import math
from types import MappingProxyType

from pydantic import TypeAdapter

from pytest_ncnn_parity.base import strict_json
from pytest_ncnn_parity.compare.measured import Metrics
from pytest_ncnn_parity.engine.evidence import Evidence, Infinite, Trial
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import Death, Step
from pytest_ncnn_parity.engine.wire import encode_result

METRICS = Metrics(
    agrees=False,
    total=8,
    mismatched=1,
    nan=0,
    inf=1,
    max_abs=math.inf,
    scaled=math.inf,
    cosine=math.nan,
    sqnr_db=-math.inf,
    reference_absmax=2.5,
    candidate_absmax=2.5,
    least_scaled=math.inf,
    used=math.inf,
    index=(0, 3),
    reference=1.0,
    candidate=math.inf,
    budget=0.125,
)


def test_fields_that_have_their_defaults_are_left_out() -> None:
    assert strict_json.given(Evidence()) == {}
    assert strict_json.given(Evidence(mask=18, whole=True)) == {"mask": 18, "whole": True}
    assert strict_json.given(Infinite(count=0)) == {"count": 0}  # it has no default


def test_floats_that_strict_json_does_not_have_are_strings() -> None:
    given = strict_json.given(METRICS)
    assert (given["max_abs"], given["cosine"], given["sqnr_db"]) == ("inf", "nan", "-inf")
    deep = {"deep": [{"value": -math.inf}]}
    assert json.loads(strict_json.line(deep)) == {"deep": [{"value": "-inf"}]}


def test_a_result_is_read_as_it_was_written() -> None:
    trials = MappingProxyType({"fp32_on_device": Trial("in fp32", False, scaled=math.inf, nonfinite=3)})
    death = Death("crash", "SIGSEGV", Step("layer", "cpu fp32", 3, "conv"), lines=("a", "b"))
    evidence = Evidence(setup="cpu fp32", shape=(2, 4), noise=0.5, trials=trials, death=death)
    result = Result("c::conv", "failed", METRICS, None, evidence, accumulated=METRICS)
    read = TypeAdapter(Result).validate_json(strict_json.line(encode_result(result)))
    assert repr(read) == repr(result).replace(repr(trials), repr(dict(trials)))  # nan is no nan
