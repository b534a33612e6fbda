"""The network as the report holds it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import plans

from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.report import network_records
from pytest_ncnn_parity.spec.spec import load


def test_hashes_are_of_the_files_bytes(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    for name in ("net.param", "net.bin"):
        (tmp_path / name).write_bytes(name.encode())
    network, notes = network_records.network_record(plan, "net.parity.yaml", "net.param")
    assert network["bin_sha256"] == sha256(b"net.bin").hexdigest()
    assert network["param_sha256"] == sha256(b"net.param").hexdigest()
    assert notes == []


def test_a_file_that_is_gone_has_no_hash_and_a_note(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path)
    (tmp_path / "net.param").write_bytes(b"")
    network, notes = network_records.network_record(plan, "models/net.parity.yaml", "models/net.param")
    assert (network["bin_sha256"], len(str(network["param_sha256"]))) == (None, 64)
    assert notes == ["net.bin: No such file or directory, so the report has no hash of it"]


def test_a_layers_parameters_stand_without_its_mask(tmp_path: Path) -> None:
    network, _ = network_records.network_record(plans.loaded(tmp_path, "masks: {gelu_1: 2}\n"), "s", "p")
    conv, gelu = network["layers"][2:4]
    assert (conv["params"], conv["mask"], conv["line"]) == ("0=8 1=1 6=24", 1, 5)
    assert (gelu["params"], gelu["mask"]) == ("", 2), "the spec's masks in it"


def test_the_layers_that_the_spec_selects(tmp_path: Path) -> None:
    plan = plans.loaded(tmp_path, 'layers: {include: ["*_1"]}\n')
    network, _ = network_records.network_record(plan, "s", "p")
    assert [layer["name"] for layer in network["layers"] if layer["selected"]] == [
        "conv_1", "gelu_1", "prob_1",
    ]  # fmt: skip


def test_the_layers_that_a_sample_does_not_run_or_feeds_itself(tmp_path: Path) -> None:
    text = plans.SPEC.replace(
        "{in0: {constant: 1, shape: [3, 8, 8]}}", "{a: {constant: 1, shape: [8, 8, 8]}}"
    )
    (tmp_path / "net.parity.yaml").write_text(text + "outputs: [out0]\n", "utf-8")
    spec = load(tmp_path / "net.parity.yaml")
    plan = Plan(spec, param.parse(plans.NETWORK, "net.param"))
    network, _ = network_records.network_record(plan, "s", "p")
    named = [layer["name"] for layer in network["layers"]]
    not_run = {sample: [named[n] for n in numbers] for sample, numbers in network["not_run"].items()}
    assert not_run == {"noise": ["prob_1"], "flat": ["in0", "fork", "prob_1"]}
    assert network["fed"] == {"flat": [named.index("conv_1")]}
