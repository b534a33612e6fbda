"""Models and specs made wrong in many ways: what Hypothesis draws from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import networks
from hypothesis import strategies as st

from pytest_ncnn_parity.spec import yaml12

EXAMPLES = Path(__file__).parents[2] / "example_models"

SPEC = """\
model: {param: net.param, bin: net.bin}
inputs:
  noise: {in0: {random: normal, seed: 3}}
  flat: {in0: {constant: 0.5}}
  low: {in0: {random: uniform, low: -2, high: 0.5}}
compare:
  - cpu-vs-vulkan
  - fp16-range
  - name: own
    reference: {device: cpu}
    candidate: {device: vulkan, precision: fp16-storage, options: {use_sgemm_convolution: false}}
tolerance:
  fp16: {scaled: 0.2, cosine: 0.9}
  layers: {"type:BinaryOp": {atol: 1e-3}, "*": {rtol: 0.1}}
  outputs: {"*": {scaled: 0.4}}
layers: {include: ["*"], exclude: ["l4"]}
masks: {l1: 16}
known: [{layer: l3, comparison: own, sample: noise, reason: "as ever"}]
"""

# values of the wrong kind, the wrong size, or with something to say to whoever prints them
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 18, 255, 256, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), float("-inf"), 18.0, [], {}, [[]], [1], [3, 8, 8], [0], [-1], [None]),
    *([100000] * 3, [1] * 9, {"a": {}}, {"": ""}, {"random": "normal"}, {"constant": 1, "shape": [1]}),
    *({"image": "in.png"}, {"name": "x", "candidate": {}}, {"layer": "*", "reason": "x"}),
    *({"file": "in.npy"}, "x" * 300, "x" * 5000, "", " ", "2024-01-01"),
    *("in0 noise a * [ type: type:* cpu vulkan vulkan:1 vulkan:99 fp16 bf16 fp32 shipped".split()),
    *("net.param net.bin ../net.bin /dev/zero /etc/passwd . .. ~ pipe loop in.npy pickle.npy".split()),
    *("huge.npy nan.npy in.npz cut.npz in.png cut.png fp16-vs-fp32 a::b a[b] <script>".split()),
    *("\x1b[31mred", "a\nb", "a\u202eb", "\u2028", "\x85", "\U0001f600", "'\"", "n\0l"),
]
YAML = [
    *("!!python/object/apply:os.system ['touch hacked']", "!!python/name:os.system", "!x ", "!!set {a}"),
    *("&a ", "<<: *a", "- ", ": ", "? ", "| ", "> ", "--- ", "%YAML 1.1", "# ", ", ", '"\\ud800"'),
    *("\t", "\r", "\0", "\x07", "\ufeff", "\u2028", "\u202e", '"\\x00"', "0x" + "f" * 3000, "9" * 5000),
    *("*a ... { } [ ] ' \" ` @ .nan .inf 1e999 0o777 1_000 1:30 on ~ null".split()),
    *("{a: " * 40, "[" * 2000, "a: " + "x" * 2000, "*a, " * 50, "&a [*a, *a]"),
]
PARAM = [
    *"7767517 0 1 -1 2 3 999999999 9999999999 1e3 in0 out0 x a::b a[b] = a=b #".split(),
    *('0="', '0="a b"', "x" * 300, "\n", "\r", "\0", "\t", "\u2028"),
    *("\x85", "\x1b[2J", "\u202e", "\U0001f600", "\ufeff"),
]
PAIRS = [
    *"31=18.0 31=-1 31=1e3 31=2 31=3 31=18 31=1 31=255 31=x 31= 0=1 0=-1 0=0 1=0 1=7".split(),
    *"0=999999999 0=9999999999 0=1e30 0=nan 2=-5 3=100 4=-1 5=0 6=1 6=-1 6=1000000000 8=1 8=2".split(),
    *"9=1,2 19=1 32=1 -1=1 -23303=2,1 -23303=-1 -23300=1,0 -23330=4,3,8,8,8 -23330=1 11=3".split(),
    *"-23309=1000000000,1 -23330=4,3,1000000,1000000,1000000 1=1000000 10=1 12=3 -23303=1,-1".split(),
]
TYPES = [
    *"Input Split ReLU Softmax Reshape Concat Slice Crop Pooling Interp Noop Padding Permute".split(),
    *"Reduction InnerProduct Convolution Deconvolution LSTM MemoryData Embed Gemm MatMul".split(),
    *"LayerNorm BinaryOp UnaryOp Unknown Einsum Flatten Convolution3D Pooling1D Scale Clip".split(),
    *"BatchNorm Eltwise ExpandDims Squeeze PixelShuffle Normalize Quantize Cast 3x Tile".split(),
]


@dataclass(frozen=True)
class Made:
    """The files of one mutated example."""

    spec: bytes
    param: bytes
    bin: bytes

    def write(self, folder: Path, name: str = "net") -> Path:
        """Write them to `folder`; returns the spec. Other names for the model are put into the spec."""
        spec = self.spec if name == "net" else self.spec.replace(b"net.", f"{name}.".encode())
        (folder / f"{name}.param").write_bytes(self.param)
        (folder / f"{name}.bin").write_bytes(self.bin)
        path = folder / f"{name}.parity.yaml"
        path.write_bytes(spec)
        return path


def models(folder: Path) -> list[tuple[bytes, bytes]]:
    """Healthy networks to start from."""
    for make in (networks.chain, networks.convolution, networks.underflow, networks.two_branches):
        make(folder, name=make.__name__)
    stems = [*sorted(folder.glob("*.param")), *sorted(EXAMPLES.glob("*/*.param"))]
    return [
        (stem.read_bytes(), stem.with_suffix(".bin").read_bytes())
        for stem in stems
        if stem.stat().st_size < 4000
    ]


def _words(random: Random, text: str, tokens: list[str]) -> str:
    """`text` with one of its words, lines or characters changed."""
    kind = random.choice(("replace", "replace", "insert", "delete", "line", "copy", "cut", "byte"))
    token = random.choice(tokens)
    if kind in ("line", "copy"):
        lines = text.split("\n")
        line = random.randrange(len(lines))
        if kind == "line":
            return "\n".join(lines[:line] + lines[line + 1 :])
        return "\n".join([*lines[:line], random.choice(lines), *lines[line:]])
    if kind in ("cut", "byte"):
        at = random.randrange(len(text) + 1)
        return text[:at] + (token[:1] + text[at + 1 :] if kind == "byte" else "")
    words = [word.span() for word in re.finditer(r"[^\s{}\[\],:]+", text)]
    start, end = random.choice(words) if words else (0, 0)
    if kind == "insert":
        return f"{text[:start]}{token} {text[start:]}"
    return text[:start] + (token if kind == "replace" else "") + text[end:]


def _values(random: Random, data: Any) -> Any:
    """`data`, plain values, with one key or value somewhere in it changed."""
    if not isinstance(data, dict | list) or not data or random.random() < 0.05:
        return random.choice(VALUES)
    if isinstance(data, list):
        at = random.randrange(len(data))
        return [_values(random, value) if i == at else value for i, value in enumerate(data)]
    key = random.choice(sorted(data))
    kind = random.choice(("into", "into", "into", "into", "drop", "rename", "add"))
    if kind == "into":
        return {**data, key: _values(random, data[key])}
    if kind == "drop":
        return {k: v for k, v in data.items() if k != key}
    word = random.choice([v for v in VALUES if isinstance(v, str)])
    if kind == "add":
        return {**data, word: random.choice(VALUES)}
    return {word if k == key else k: v for k, v in data.items()}


def _spec(random: Random, text: str) -> bytes:
    """A spec, wrong somewhere: in its text or in its values."""
    if random.random() < 0.3:
        return _words(random, text, YAML).encode("utf-8", "surrogatepass")
    data = _values(random, yaml12.load(text).data)
    shown = json.dumps(data).replace("NaN", ".nan").replace("-Infinity", "-.inf")
    return shown.replace("Infinity", ".inf").encode()


def _param(random: Random, raw: bytes) -> bytes:
    """A .param, wrong somewhere."""
    text = raw.decode()
    if random.random() < 0.4:
        return _words(random, text, PARAM).encode("utf-8", "surrogatepass")
    lines = text.split("\n")
    at = random.randrange(2, len(lines) - 1)
    words = lines[at].split()
    pairs = [i for i, word in enumerate(words) if "=" in word]
    if random.random() < 0.3:
        words[0] = random.choice(TYPES)
    elif pairs and random.random() < 0.7:
        words[random.choice(pairs)] = random.choice(PAIRS)
    else:
        words.append(random.choice(PAIRS))
    lines[at] = " ".join(words)
    return "\n".join(lines).encode()


def _weights(random: Random, raw: bytes) -> bytes:
    """A .bin, wrong somewhere."""
    kind = random.choice(("cut", "more", "nan", "inf", "bytes", "empty", "large"))
    at = random.randrange(max(1, len(raw) - 3))
    if kind == "cut":
        return raw[:at]
    if kind == "more":
        return raw + raw[at:]
    if kind == "empty":
        return b""
    four = {"nan": b"\x00\x00\xc0\x7f", "inf": b"\x00\x00\x80\x7f", "large": b"\xff\xff\x7f\x7f"}
    return raw[:at] + four.get(kind, random.randbytes(4)) + raw[at + 4 :]


def small_spec(param: bytes) -> str:
    """A spec that fits a healthy network, whose inputs state no shape unless the network does."""
    shape = ", shape: [1, 8, 8]" if b"Input" in param and b"0=" not in _input_line(param) else ""
    return (
        "model: {param: net.param, bin: net.bin}\n"
        f"inputs: {{noise: {{in0: {{random: normal{shape}}}}}}}\n"
    )


def _input_line(param: bytes) -> bytes:
    return next(line for line in param.split(b"\n") if line.startswith(b"Input"))


def _example(random: Random, healthy: list[tuple[bytes, bytes]]) -> Made:
    """One example, of which at least one file is wrong, in one place or in several."""
    what = random.choices(("spec", "param", "bin", "all"), (35, 40, 10, 15))[0]
    param, raw = healthy[0] if what == "spec" else random.choice(healthy)
    if what == "spec":  # SPEC fits the first network
        return Made(_spec(random, SPEC), param, raw)
    text = small_spec(param)
    spec = _spec(random, text) if what == "all" and random.random() < 0.5 else text.encode()
    if what in ("bin", "all"):
        raw = _weights(random, raw)
    if what in ("param", "all"):
        param = _param(random, param)
    return Made(spec, param, raw)


def examples(healthy: list[tuple[bytes, bytes]]) -> st.SearchStrategy[Made]:
    """What Hypothesis draws: each example from a random stream of its own, by the run's seed."""
    return st.builds(_example, st.randoms(use_true_random=True), st.just(healthy))
