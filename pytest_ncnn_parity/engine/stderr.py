"""What a worker's native code writes to stderr: its beginning, its end, and what is recognized in it.

However much is written, only a bounded amount is kept.
"""

from __future__ import annotations

import re
from dataclasses import replace

from pytest_ncnn_parity.engine.evidence import Evidence
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.engine.steps import STEP_MARK, Step

HEAD = 1000  # bytes kept from the beginning
TAIL = 4000  # bytes kept from the end
LINE = 1 << 16  # bytes; a longer line is processed before it is complete


_STEPS = re.compile(rb"\x1e([^\n]*)\n")
_DEVICE = re.compile(rb"^\[(\d+) (.+?)\]\s+fp16-p[a-z/]*=([\d/]+)", re.MULTILINE)
_SHADER = re.compile(rb"(?:compile.?spir.?v.?module|create_shader_module) failed")
# VK_ERROR_OUT_OF_HOST_MEMORY is -1, VK_ERROR_OUT_OF_DEVICE_MEMORY is -2
_NO_MEMORY = re.compile(
    rb"std::bad_alloc|[Oo]ut of memory|vk(?:Allocate|Create)\w+ failed -[12]\b"
    rb"|OpenBLAS error: Memory allocation still failed"
)
# a quick test: most lines of a flood contain none of these
_SIGNS = (b"fp16-p", b" failed", b"bad_alloc", b"ut of memory")


class Stderr:
    """A worker's stderr, fed in chunks and separated by native step."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._rest = b""
        self._size = 0
        self._step = ""
        self._of_step = b""  # the output of the last step that wrote any
        self._speaking = ""  # the name of that step
        # how many marks the worker has written; each ends the output that belongs to one result
        self.marks = 0
        self.shader_failures: dict[str, str] = {}  # the line that reports the failure, by native step
        self.no_memory: str | None = None  # the line on missing memory in the last step's output
        self.devices: dict[str, tuple[str, str]] = {}  # name and fp16 flags, by device index

    def feed(self, chunk: bytes) -> None:
        """Take the next `chunk` of the stream."""
        whole, newline, rest = (self._rest + chunk).rpartition(b"\n")
        if len(rest) > LINE:
            whole, newline, rest = whole + newline + rest, b"", b""
        self._rest = rest
        lines = whole + newline
        said, *more = _STEPS.split(lines) if STEP_MARK in lines else [lines]
        self._hear(said)
        for step, text in zip(more[::2], more[1::2], strict=True):
            if step:
                self._step = step.decode("utf-8", "replace")
                self.no_memory = None
            else:
                self.marks += 1
            self._hear(text)

    def end(self) -> None:
        """End the stream: a last line without a newline counts as a line."""
        if self._rest:
            self.feed(b"\n")

    def _hear(self, said: bytes) -> None:
        if not said:
            return
        self._size += len(said)
        if self._speaking != self._step:
            self._speaking, self._of_step = self._step, b""
        self._of_step = (self._of_step + said)[-TAIL:]
        self._head += said[: HEAD - len(self._head)]
        self._tail = (self._tail + said[-TAIL:])[-TAIL:]
        if not any(sign in said for sign in _SIGNS):
            return
        if self._step not in self.shader_failures and (line := _line(_SHADER, said)):
            self.shader_failures[self._step] = line
        self.no_memory = self.no_memory or _line(_NO_MEMORY, said)
        for index, name, flags in _DEVICE.findall(said):
            self.devices[_text(index)] = (_text(name), _text(flags))

    def of_step(self, step: str) -> str:
        """Return what was written during `step`, or "" if a later step has written anything."""
        return _text(self._of_step) if self._speaking == step else ""

    def text(self) -> str:
        """Return the end of the output, after its beginning if anything in between was dropped."""
        tail = _text(self._tail)
        if self._size <= TAIL:
            return tail
        dropped = self._size - len(self._head) - len(self._tail)
        if dropped <= 0:
            return _text(self._head[: self._size - len(self._tail)] + self._tail)
        return f"{_text(self._head)}\n[{dropped} bytes left out]\n{tail}"


def with_stderr(result: Result, stderr: Stderr) -> Result:
    """Return `result`; if it failed, with what native code wrote about it to `stderr`."""
    if result.outcome != "failed":
        return result
    evidence = result.evidence
    death = evidence.death
    label = death.step.label if death is not None and death.step is not None else str(evidence.setup)
    shader = stderr.shader_failures.get(str(Step("load", label)))
    if death is not None and death.kind == "refused":
        death = replace(death, stderr=stderr.text())
    # everything the step wrote, because devices are reported elsewhere
    if death is not None and death.kind == "files":
        death = replace(death, stderr=stderr.of_step(str(death.step)))
    seen: Evidence = replace(evidence, shader=shader or evidence.shader, death=death)
    return replace(result, evidence=seen)


def _line(pattern: re.Pattern[bytes], said: bytes) -> str | None:
    """Return the first line in which `pattern` is found, or None."""
    match = pattern.search(said)
    if match is None:
        return None
    start, end = said.rfind(b"\n", 0, match.start()) + 1, said.find(b"\n", match.end())
    return _text(said[start : end if end >= 0 else None])


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace").strip()
