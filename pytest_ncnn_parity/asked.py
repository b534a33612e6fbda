"""Whether a result speaks of the Vulkan device as it was asked for."""

from __future__ import annotations

from pytest_ncnn_parity.engine.protocol import Result


class DeviceDenied(Exception):
    """The device did not run what was asked of it: no failure that a spec can know beforehand."""


def denied(result: Result) -> str | None:
    """Why it does not, where it does not: no device, nothing on it, or options that ncnn dropped."""
    if result.evidence.no_vulkan:
        return str(result.reason)
    dropped = result.evidence.dropped
    if dropped:
        return (
            f"{result.evidence.setup}: {result.evidence.device} does not offer "
            f"{', '.join(dropped)}; ncnn dropped that and ran something else: compare a precision it has"
        )
    return None
