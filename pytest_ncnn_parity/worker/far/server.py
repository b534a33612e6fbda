"""The server on a declared worker: loads networks in its ncnn and runs them, as requested on stdin.

It is sent there as source, so it needs nothing but Python 3.9 and ncnn. A message is one line of JSON,
which states under `bytes` how many bytes of data follow, the data, and a line that ends the message. The
process forks: the child serves; the parent watches it, reports how it ended, and kills it once stdin is
closed, even during a step.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import select
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from pytest_ncnn_parity.worker.far.store import Refused, Said, SentWeights, cores, limit_memory

MAGIC = "ncnn-parity-worker"
OUT_OF_MEMORY = 71  # the exit status if Python runs out of memory
PDEATHSIG = 1  # from sys/prctl.h
AS_IT_IS = 1  # the `type` with which Extractor.extract neither converts int8 to floats nor unpacks

Message = dict[str, Any]


def write_all(file: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left.nbytes:
        left = left[os.write(file, left) :]


def watch(child: int, alive: int, out: int, said: Said, nonce: str) -> None:
    """Wait until the child ends or stdin is closed, kill the child in that case, and report its end."""
    poll = select.poll()
    poll.register(0, getattr(select, "POLLRDHUP", 0))  # POLLHUP and POLLERR are always reported
    poll.register(alive, 0)
    if any(file == 0 for file, _ in poll.poll()):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    notice = {"died": os.waitstatus_to_exitcode(status), "said": said.take()}
    with suppress(OSError):
        write_all(out, f"\n{MAGIC} {nonce} {json.dumps(notice)}\n".encode())
    os._exit(0)


class Request:
    """A request with its data, and the data that goes back with the answer."""

    def __init__(self, asked: Message, data: memoryview) -> None:
        self.asked, self.data = asked, data
        self.parts: list[memoryview] = []
        # the Mats of the parts, because a view of a channel does not keep its Mat alive
        self.mats: list[Any] = []


class Server:
    """The child process: answers one request after the other, each kind with a method of its own."""

    def __init__(self, out: int, said: Said, nonce: str) -> None:
        self._out = out
        self._said = said
        self._end = f"{nonce}\n".encode()
        self._values: dict[str, Any] = {}
        self._nets: dict[int, Any] = {}
        self._abandoned: list[Any] = []
        self._weights = SentWeights()

    def serve(self, first: Message) -> None:
        try:
            self._send(self._hello(first), [])
            for line in sys.stdin.buffer:
                asked = json.loads(line)
                data = memoryview(sys.stdin.buffer.read(asked["bytes"]))
                if data.nbytes < asked["bytes"]:
                    break
                self._answer(Request(asked, data))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        os._exit(0)  # skips ncnn's destructors, which may run in the wrong order with the driver's

    def _answer(self, request: Request) -> None:
        try:
            reply = getattr(self, f"do_{request.asked['do']}")(request)
        except Refused as refused:
            reply = {"refused": str(refused)}
        self._send(reply, request.parts)

    def _send(self, reply: Message, parts: Sequence[memoryview]) -> None:
        whole = {**reply, "said": self._said.take(), "bytes": sum(part.nbytes for part in parts)}
        write_all(self._out, json.dumps(whole).encode() + b"\n")
        for part in parts:
            write_all(self._out, part)
        write_all(self._out, self._end)

    def _hello(self, asked: Message) -> Message:
        limit_memory(asked["memory"])
        try:
            import ncnn  # noqa: PLC0415 - only here, so that its absence can be reported
        except ImportError as error:
            return {"no_ncnn": f"{sys.executable}: {error}"}
        self._ncnn = ncnn
        self._cast = ncnn.Option()
        self._cast.num_threads = 1
        features = [name for name in dir(ncnn) if name.startswith("cpu_support_")]
        return {
            "ncnn": ncnn.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.platform(),
            "cores": cores(),
            "features": [name[12:] for name in features if getattr(ncnn, name)()],
            "options": sorted(plain(ncnn.Option())),
        }

    def do_vulkan(self, _: Request) -> Message:
        """Start Vulkan, and return its devices: the name and four packed numbers of each."""
        devices = []
        for index in range(self._ncnn.get_gpu_count()):
            info = self._ncnn.get_gpu_info(index)
            numbers = (info.vendor_id(), info.driver_version(), info.api_version(), info.type())
            devices.append([str(info.device_name()), *map(int, numbers)])
        return {"devices": devices}

    def do_weights(self, request: Request) -> Message:
        """Store a part of the weights; without a part, only return whether the weights are here."""
        sha256, size = request.asked["sha256"], request.asked["size"]
        if request.asked["offset"] is None:
            return {"here": self._weights.has(sha256, size)}
        return {"here": self._weights.add(sha256, size, request.asked["offset"], request.data)}

    def do_load(self, request: Request) -> Message:
        unknown = [name for name in request.asked["types"] if self._ncnn.layer_to_index(name) == -1]
        if unknown:
            return {"unknown": unknown}
        net = self._ncnn.Net()
        for name, value in request.asked["options"].items():
            try:
                setattr(net.opt, name, value)
            except (AttributeError, TypeError):
                raise Refused(f"the option {name} does not take {value!r}") from None
        if request.asked["vulkan"] is not None:
            self._ncnn.get_gpu_count()
            net.set_vulkan_device(request.asked["vulkan"])
        rc, step = net.load_param_mem(bytes(request.data).decode("utf-8", "replace")), "load_param"
        if rc == 0:
            rc, step = net.load_model(self._weights.path(request.asked["sha256"])), "load_model"
        if rc != 0:
            # older ncnn may crash when a network that was loaded in part is destroyed
            self._abandoned.append(net)
            raise Refused(f"{step}: {rc}")
        self._nets[request.asked["net"]] = net
        kinds = ("support_vulkan", "support_fp16_storage", "support_bf16_storage")
        layers = [
            [one.type, list(one.tops), *(bool(getattr(one, kind)) for kind in kinds)]
            for one in net.layers()
        ]
        blobs = [blob.name for blob in net.blobs()]
        return {"layers": layers, "blobs": blobs, "options": plain(net.opt)}

    def do_drop(self, request: Request) -> Message:
        net = self._nets.pop(request.asked["net"], None)
        if net is not None:
            net.clear()
        return {}

    def do_run(self, request: Request) -> Message:
        """Feed values that came with this request or an earlier one, and extract the outputs."""
        for digest in request.asked["forget"]:
            self._values.pop(digest, None)
        start = 0
        for digest, code, shape, size in request.asked["values"]:
            self._values[digest] = self._mat(request.data[start : start + size], code, shape)
            start += size
        begin = time.perf_counter()
        extractor = self._nets[request.asked["net"]].create_extractor()
        for index, digest in request.asked["inputs"]:
            rc = extractor.input(index, self._values[digest])
            if rc != 0:
                return {"input": rc, "index": index}
        outputs = []
        for index, maybe_int8 in request.asked["outputs"]:
            rc, mat = extractor.extract(index)
            if rc != 0 or mat.empty():
                outputs.append([rc, None, "f"])
                if rc != 0:
                    break
                continue
            if getattr(mat, "n", 1) > 1:
                raise Refused("an output is a batch, of which a worker returns no more than the first")
            code = "f"
            if maybe_int8:
                _, packed = extractor.extract(index, AS_IT_IS)
                if packed.elemsize == packed.elempack:  # one byte per element, so int8
                    mat, code = self._ncnn.convert_packing(packed, 1, self._cast), "b"
            outputs.append([rc, shape_of(mat), code])
            request.mats.append(mat)
        milliseconds = 1000.0 * (time.perf_counter() - begin)
        request.parts.extend(piece for mat in request.mats for piece in pieces(mat))
        return {"outputs": outputs, "ms": milliseconds}

    def _mat(self, data: memoryview, code: str, shape: Sequence[int]) -> Any:
        if 0 in shape:
            return self._ncnn.Mat()
        view = data.cast(code, list(shape))  # type: ignore[call-overload]
        return self._ncnn.Mat(view).clone()  # cloned while `view` is still referenced here


def shape_of(mat: Any) -> list[int]:
    sizes = {1: "w", 2: "hw", 3: "chw", 4: "cdhw"}[mat.dims]
    return [getattr(mat, size) for size in sizes]


def pieces(mat: Any) -> Iterable[memoryview]:
    """Return the bytes of `mat`, by channel if these are not contiguous in memory."""
    whole = memoryview(mat)
    if whole.contiguous:
        return [whole.cast("B")]
    return [memoryview(mat.channel(index)).cast("B") for index in range(mat.c)]


def plain(options: Any) -> dict[str, bool | int]:
    """Return, by name, the options that are bools or ints."""
    values = {name: getattr(options, name) for name in dir(options) if not name.startswith("_")}
    return {name: value for name, value in values.items() if isinstance(value, (bool, int))}


def main() -> None:
    first = json.loads(sys.stdin.buffer.readline())
    nonce = first["nonce"]
    out, said = os.dup(1), Said()
    write_all(out, f"\n{MAGIC} {nonce}\n".encode())
    alive, dying = os.pipe()
    child = os.fork()
    if child:
        os.close(dying)
        watch(child, alive, out, said, nonce)
    os.close(alive)
    with suppress(AttributeError, OSError):  # this system is not Linux
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.dup2(said.file, 1)
    os.dup2(said.file, 2)
    Server(out, said, nonce).serve(first)
