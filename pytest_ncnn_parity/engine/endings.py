"""Describes how a worker ended. The exit code is a signal on POSIX, an NTSTATUS value on Windows."""

from __future__ import annotations

import signal

from pytest_ncnn_parity.engine.steps import Death

# STATUS_NO_MEMORY and STATUS_COMMITMENT_LIMIT: the system refused to give the process memory
NO_MEMORY = (0xC0000017, 0xC000012D)

# from ntstatus.h
_STATUS = {
    0x40000015: "fatal application exit",
    0x80000003: "breakpoint",
    0xC0000005: "access violation",
    0xC0000006: "in-page error",
    0xC0000017: "no memory",
    0xC000001D: "illegal instruction",
    0xC0000025: "noncontinuable exception",
    0xC0000094: "integer division by zero",
    0xC00000FD: "stack overflow",
    0xC000012D: "commitment limit",
    0xC0000135: "a DLL was not found",
    0xC0000139: "an entry point of a DLL was not found",
    0xC000013A: "Ctrl-C",
    0xC0000142: "a DLL could not be initialised",
    0xC0000374: "heap corruption",
    0xC0000409: "stack buffer overrun, or abort",
    0xE06D7363: "C++ exception",
}
_LARGEST_ON_POSIX = 255


def was_killed(code: int | None) -> bool:
    """Whether the process was ended by SIGKILL, which no process sends to itself."""
    return code == -9


def shown(code: int | None) -> str:
    """Describe `code`, a `subprocess.Popen.returncode`; None means that the process has not ended."""
    if code is None:
        return "it closed its pipes and hung"
    if code > _LARGEST_ON_POSIX:
        meaning = f" ({_STATUS[code]})" if code in _STATUS else ""
        return f"ended with 0x{code:08X}{meaning}"
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    from_outside = " from outside (by the system, where memory ran out)"
    return f"killed by {name}{from_outside if was_killed(code) else ''}"


def without_step(death: Death) -> str:
    """The error message for a worker that died while it was running no step."""
    what = f"the worker died outside of any network: {death.detail}"
    if death.kind == "timeout":
        what += "; raise --ncnn-parity-timeout"
    return f"{what}\n{death.stderr}" if death.stderr else what
