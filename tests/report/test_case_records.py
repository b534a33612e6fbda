"""A case as the report holds it."""

from __future__ import annotations

from pytest_ncnn_parity.report import case_records


def test_a_lost_case_is_reported_by_its_node_id() -> None:
    layer = case_records.lost("a.parity.yaml::noise::shipped::stage::conv", "worker died\nmore")
    output = case_records.lost("a.parity.yaml::noise::shipped::output:out0", "worker died")
    assert (layer["sample"], layer["comparison"], layer["layer"]) == ("noise", "shipped", "stage::conv")
    assert (output["layer"], output["output"]) == (None, "out0")
    assert layer["headline"] == "worker died"
