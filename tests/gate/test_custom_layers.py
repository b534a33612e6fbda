"""Layers of the project's own, by the spec's `setup`: a way in, and errors that are the user's."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import networks
import numpy as np
import pytest
from conftest import Gate, fresh_python
from network import Network
from own_layers import OPS, affine, project

from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.spec import spec as specs
from pytest_ncnn_parity.spec.spec import SpecError
from pytest_ncnn_parity.worker.custom_layers import Registry
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.weights.checked_files import CheckedFiles


def model(folder: Path) -> Model:
    return Model(
        str(folder / "net.param"), str(folder / "net.bin"), None, "nets.ops:register", (str(folder),)
    )


@pytest.fixture(autouse=True)
def _no_module_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nets", "nets.ops"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_custom_layer_runs_between_vulkan_layers(gate: Gate, pytester: pytest.Pytester) -> None:
    affine(pytester.path)
    project(pytester.path)
    run = gate()
    assert run.ids("failed") == []
    for comparison in ("cpu-vs-vulkan", "fp16-vs-fp32-vulkan"):
        for name in ("before", "after", "output:out0"):
            assert run.cases[f"noise::{comparison}::{name}"]["outcome"] == "passed"
        assert "on both sides" in run.cases[f"noise::{comparison}::own"]["message"]
    assert run.cases["noise::fp16-range::own"]["outcome"] == "passed"
    assert run.cases["noise::cpu-vs-vulkan::after"]["execution"].startswith("vulkan")
    assert run.report["models"][0]["setup"] == "nets.ops:register"


def test_what_it_makes_is_judged_and_masks_are_found(gate: Gate, pytester: pytest.Pytester) -> None:
    """A value of one's own beyond fp16 is a fault as any other, and patched networks are set up too."""
    affine(pytester.path, "1e6")
    project(pytester.path)
    run = gate()
    own = run.cases["noise::fp16-vs-fp32-vulkan::own"]
    assert (own["outcome"], own["cause"]) == ("failed", "storage-overflow")
    fix = run.fixes["fp16-vs-fp32-vulkan"]
    assert fix["verified"] is True
    assert "after" in fix["masks"]


def test_one_that_is_wrong_in_fp16_alone_is_red_at_the_outputs(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    affine(pytester.path)
    wrong = OPS.replace("+ self.bias\n", "+ self.bias * (5 if option.use_fp16_storage else 1)\n")
    project(pytester.path, wrong, compare="compare: [fp16-vs-fp32-vulkan]\n")
    run = gate("--ncnn-parity-fix=off")
    assert run.ids("failed") == ["noise::fp16-vs-fp32-vulkan::output:out0"]


def test_many_networks_are_loaded_in_one_process(tmp_path: Path) -> None:
    """Older bindings register ten layers in a process: what is done with gives its place back."""
    affine(tmp_path)
    project(tmp_path)
    custom = model(tmp_path)
    graph = param.read(custom.param)
    registry = Registry(print)
    for _ in range(30):
        net = registry.net(custom, graph)
        loaded = LoadedNet(NetSpec(0, "cpu", "fp32"), custom, graph.masks, 1, print, net=net)
        assert [layer.type for layer in loaded.native.read.layers][2] == "Affine"
        registry.release(net)


def test_a_full_table_of_registrations_is_reported(tmp_path: Path) -> None:
    """Twelve networks at once: newer bindings take them, older ones ten."""
    affine(tmp_path)
    project(tmp_path)
    shown = fresh_python(
        """
import sys
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.worker.custom_layers import Registry
from pytest_ncnn_parity.worker.failures import Unavailable
from pytest_ncnn_parity.engine.protocol import Model
root = sys.argv[1]
model = Model(root + "/net.param", root + "/net.bin", None, "nets.ops:register", (root,))
graph, registry, nets = param.read(model.param), Registry(lambda step: None), []
try:
    while len(nets) < 12:
        nets.append(registry.net(model, graph))
    print("all")
except Unavailable as full:
    print(len(nets), full)
""",
        str(tmp_path),
    )
    message = "cannot register what nets.ops:register wants for one more network"
    assert shown.stdout == "all\n" or (shown.stdout.startswith("10 ncnn") and message in shown.stdout)


FAULTS = {
    "the function raises": (
        OPS.replace("net.register_custom_layer(", "raise ValueError(net.nothing, "),
        "nets.ops:register: AttributeError: 'CustomNet' object has no attribute 'nothing'",
        "nets/ops.py:27: in register: raise ValueError(net.nothing, ",
    ),
    "the module raises": (
        "import nothing_of_that_name\n",
        "nets.ops:register: ModuleNotFoundError: No module named 'nothing_of_that_name'",
        "nets/ops.py:1: in <module>: import nothing_of_that_name",
    ),
    "load_param raises": (
        OPS.replace("self.factor = params.get(0, 1.0)", "raise KeyError('factor')"),
        "nets.ops:register: KeyError: 'factor'",
        "nets/ops.py:13: in load_param: raise KeyError('factor')",
    ),
    "load_model raises": (
        OPS.replace("self.bias = np", "self.bias = 1 / 0 + np"),
        "nets.ops:register: ZeroDivisionError: division by zero",
        "nets/ops.py:17: in load_model: self.bias = 1 / 0",
    ),
    "load_param returns nothing": (
        OPS.replace("self.factor = params.get(0, 1.0)\n            return 0", "pass"),
        "; a layer's methods return a number, 0 where all is well",
        "",
    ),
    "it exits": ("raise SystemExit(3)\n", "nets.ops:register: SystemExit: 3", "nets/ops.py:1: in"),
    "it skips": (
        "import pytest\ndef register(net): pytest.importorskip('nonesuch')\n",
        "nets.ops:register: Skipped: could not import 'nonesuch'",
        "nets/ops.py:2: in register",
    ),
    "it raises what cannot be told": (
        "class Own(Exception):\n    def __str__(self): return 1 / 0\ndef register(net): raise Own\n",
        "nets.ops:register: Own: its text cannot be made (ZeroDivisionError)",
        "nets/ops.py:3: in register",
    ),
    "it yields": (
        "def register(net):\n    yield net\n",
        "nets.ops:register: TypeError: a function with 'yield', of which no line is run; expected",
        "",
    ),
    "it is async": (
        "async def register(net): pass\n",
        "nets.ops:register: TypeError: a function with 'async', of which no line is run; expected",
        "",
    ),
    "no such function": (
        OPS.replace("def register(", "def registers("),
        "setup: nets.ops has no 'register'; did you mean 'registers'",
        "",
    ),
    "no function": ("register = 3\n", "setup: 'register' in nets.ops is not a function but int", ""),
    "it registers nothing": (
        "def register(net): pass\n",
        "does not have the operator Affine, nor does nets.ops:register register it",
        "net.param:5: Affine (layer own)",
    ),
}


def problem(folder: Path, setup: str = "nets.ops:register") -> str:
    """What keeps the network in `folder` from being loaded."""
    asked = replace(model(folder), setup=setup)
    with pytest.raises(StepFailed) as caught:
        CheckedFiles(Registry(print), print).weights(asked, param.read(asked.param))
    assert caught.value.step.of_files
    return "\n".join([caught.value.death.detail, *caught.value.death.lines])


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_in_it_is_the_users(tmp_path: Path, fault: str) -> None:
    ops, message, line = FAULTS[fault]
    affine(tmp_path)
    project(tmp_path, ops)
    reported = problem(tmp_path)
    assert message in reported.splitlines()[0]
    assert line in reported
    assert "pytest_ncnn_parity/" not in reported


def test_it_reads_none_of_the_jobs(pytester: pytest.Pytester) -> None:
    affine(pytester.path)
    project(pytester.path, "def register(net): input()\n")
    run = pytester.runpytest_subprocess("--ncnn-parity", "--ncnn-parity-timeout=60", "-k", "before")
    run.stdout.fnmatch_lines("FAILED *nets.ops:register: EOFError: EOF when reading a line")


def test_it_is_reported_once_at_its_key(gate: Gate, pytester: pytest.Pytester) -> None:
    affine(pytester.path)
    project(pytester.path, FAULTS["load_model raises"][0])
    run = gate()
    assert run.ids("failed") == ["noise::cpu-vs-vulkan::before"]
    assert run.ids("passed") == []
    case = run.cases["noise::cpu-vs-vulkan::before"]
    assert case["cause"] == "load"
    spec = pytester.path / "net.parity.yaml"
    assert case["message"].splitlines() == [
        f"{spec}:2:8: nets.ops:register: ZeroDivisionError: division by zero",
        "nets/ops.py:17: in load_model: self.bias = 1 / 0 + np.array(weights.load(8, 1))",
    ]


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        ("nets.opps:register", "setup: no module 'nets.opps' in {root}"),
        ("json.tool:main", "setup: json is {json}, outside the project ({root})"),
        ("nets.ops.deep:f", "setup: nets.ops is a module, not a package: there is no nets.ops.deep"),
    ],
)
def test_only_the_projects_own_modules_are_imported(tmp_path: Path, setup: str, message: str) -> None:
    affine(tmp_path)
    project(tmp_path)
    assert problem(tmp_path, setup).startswith(message.format(root=tmp_path, json=json.__file__))


def test_a_module_that_links_out_of_the_project_is_not_run(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "ops.py"
    outside.write_text("raise SystemExit('it was run')\n", "utf-8")
    affine(tmp_path)
    project(tmp_path)
    (tmp_path / "nets" / "ops.py").unlink()
    (tmp_path / "nets" / "ops.py").symlink_to(outside)
    assert "outside the project" in problem(tmp_path)


def test_a_name_that_is_taken_is_reported(tmp_path: Path) -> None:
    affine(tmp_path)
    project(tmp_path)
    (tmp_path / "json.py").write_text("def register(net): pass\n", "utf-8")
    assert f"the name json is taken by {json.__file__}" in problem(tmp_path, "json:register")


def test_collecting_runs_none_of_it(gate: Gate, pytester: pytest.Pytester) -> None:
    affine(pytester.path)
    project(pytester.path, "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n" + OPS)
    gate("--collect-only")
    assert not (pytester.path / "nets" / "ran").exists()


def test_a_wrong_form_is_a_spec_error(tmp_path: Path) -> None:
    affine(tmp_path)
    project(tmp_path, setup="nets/ops.py")
    path = tmp_path / "net.parity.yaml"
    with pytest.raises(SpecError) as caught:
        specs.load(path)
    assert caught.value.errors == [
        f"{path}:2:8: setup: expected package.module:function, found 'nets/ops.py'"
    ]


def test_what_a_layer_raises_costs_what_needs_it(gate: Gate, pytester: pytest.Pytester) -> None:
    affine(pytester.path)
    project(pytester.path, OPS.replace("made = np.array(bottom)", "made = np.zeros(3) + np.ones(4)"))
    run = gate("--ncnn-parity-fix=off")
    own = run.cases["noise::fp16-range::own"]
    assert (own["outcome"], own["cause"]) == ("failed", "crash")
    assert "nets.ops:register: ValueError: operands could not be broadcast" in own["message"]
    assert "nets/ops.py:21: in forward: made = np.zeros(3)" in own["message"]
    assert run.cases["noise::fp16-vs-fp32-vulkan::before"]["outcome"] == "passed"
    assert "the reference has no input for it" in run.cases["noise::fp16-range::after"]["message"]
    assert run.cases["noise::cpu-vs-vulkan::output:out0"]["outcome"] == "failed"


@pytest.mark.once
@pytest.mark.parametrize(
    ("right", "wrong", "gives"),
    [
        (
            "top.clone_from(ncnn.Mat(made), option.blob_allocator)\n            return 0",
            "return -5",
            "-5",
        ),
        ("top.clone_from(ncnn.Mat(made), option.blob_allocator)", "pass", "it is empty"),
    ],
    ids=["error", "nothing"],
)
def test_an_error_that_a_layer_returns_is_its_own(
    right: str, wrong: str, gives: str, gate: Gate, pytester: pytest.Pytester
) -> None:
    affine(pytester.path)
    project(pytester.path, OPS.replace(right, wrong))
    run = gate()
    own = run.cases["noise::fp16-range::own"]
    assert (own["outcome"], own["cause"]) == ("failed", "crash")
    assert f"Affine, a layer of your own, failed: extract own: {gives}, in layer 2 own" in own["message"]
    assert "feed the size" not in run.output
    assert "or in the code of 'setup:'" in run.output


SILENT = """\
7767517
6 5
Meta    data    0 0 0=2 -23330=0
Input   in0     0 1 in0 0=8
Split   fork    1 2 in0 left right
Sigmoid sig     1 1 left out0
TanH    tanh    1 1 right x
Noop    silence 1 0 x
"""
META = """\
    import ncnn


    class Meta(ncnn.Layer):
        def __init__(self):
            super().__init__()


    def register(net):
        net.register_custom_layer("Meta", Meta, lambda layer: None)
"""


def test_layers_that_give_nothing_are_no_cases(gate: Gate, pytester: pytest.Pytester) -> None:
    """Metadata at the head of a file, as sherpa-ncnn writes it, and a Silence of Caffe."""
    (pytester.path / "net.param").write_text(SILENT)
    (pytester.path / "net.bin").write_bytes(b"")
    project(pytester.path, META)
    run = gate()
    assert run.ids("failed") == []
    assert "please report it" not in run.output
    assert not any("data" in name or "silence" in name for name in run.cases)
    assert "noise::cpu-vs-vulkan::output:out0" in run.ids("passed")


TWO = """\
    import ncnn
    import numpy as np


    class Two(ncnn.Layer):
        '''The root of x, and x times a number that fp16 rounds.'''

        def load_param(self, params):
            return 0

        def load_model(self, weights):
            return 0

        def forward(self, bottoms, tops, option):
            x = np.array(bottoms[0])
            with np.errstate(invalid="ignore"):
                for top, made in zip(tops, (np.sqrt(x), x * np.float32(1.0001))):
                    top.clone_from(ncnn.Mat(made), option.blob_allocator)
            return 0


    def register(net):
        net.register_custom_layer("Two", Two, lambda layer: None)
"""


def test_nan_in_one_output_is_red_whichever_output_is_off_most(
    gate: Gate, pytester: pytest.Pytester
) -> None:
    net = Network()
    x = net.layer("Input", "in0", params="0=8")
    net.layer("Two", "two", [x], ["a", "b"])
    net.layer("ReLU", "first", ["a"], ["out0"])
    net.layer("ReLU", "second", ["b"], ["out1"])
    net.write(pytester.path / "net")
    project(pytester.path, TWO)
    networks.fed(
        pytester.path,
        "setup: nets.ops:register\ncompare: [fp16-range]\n",
        in0=np.array([-1.0, 9, 4, 9, 4, 9, 4, 9]),
    )
    run = gate()
    assert run.ids("failed") == ["s::fp16-range::two"]
    assert run.cases["s::fp16-range::two"]["cause"] == "nan"
