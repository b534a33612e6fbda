"""What two reports were made with: versions, devices, options, files; one line a difference. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from pytest_ncnn_parity import options
from pytest_ncnn_parity.report.document import (
    DeclaredWorkerRecord,
    DeviceRecord,
    Environment,
    OptionValue,
    Report,
)
from pytest_ncnn_parity.report.document.model import ModelRecord

Version = Literal["ncnn", "numpy", "python", "machine", "plugin", "pytest"]
VERSIONS: tuple[Version, ...] = ("ncnn", "numpy", "python", "machine", "plugin", "pytest")
BESIDE = {option.key for option in options.TABLE.values() if not option.judges}
FILES: Final = (("spec_sha256", "spec"), ("param_sha256", ".param"), ("bin_sha256", "weights"))


def context(old: Report, new: Report, models: Sequence[tuple[ModelRecord, ModelRecord]]) -> list[str]:
    """A text for each thing that differs; `models` are those of both reports that belong together."""
    then, now = old["environment"], new["environment"]
    return [
        *_versions(then, now),
        *_devices(then["devices"], now["devices"]),
        *_workers(then.get("workers", {}), now.get("workers", {})),
        *_options(then.get("options", {}), now.get("options", {})),
        *(text for before, after in models for text in _files(before, after)),
    ]


def _versions(then: Environment, now: Environment) -> Iterator[str]:
    for name in VERSIONS:
        was, is_now = then.get(name), now.get(name)
        if was != is_now:
            yield f"{name} {was or 'unknown'} -> {is_now or 'unknown'}"


def _devices(then: Sequence[DeviceRecord], now: Sequence[DeviceRecord]) -> Iterator[str]:
    before, after = (", ".join(map(_device, devices)) or "none" for devices in (then, now))
    if before != after:
        yield f"device {before} -> {after}"


def _device(device: DeviceRecord) -> str:
    facts = [f"{key} {value}" for key, value in sorted(device.items()) if key not in ("name", "index")]
    return f"{device['name']} ({', '.join(facts)})" if facts else device["name"]


def _workers(
    then: Mapping[str, DeclaredWorkerRecord], now: Mapping[str, DeclaredWorkerRecord]
) -> Iterator[str]:
    for name in sorted(then.keys() & now.keys()):
        before, after = (
            f"ncnn {one['ncnn']} on {one['machine']} ({one['system']}), features {one['features']}"
            for one in (then[name], now[name])
        )
        if before != after:
            yield f"worker {name} {before} -> {after}"


def _options(then: Mapping[str, OptionValue], now: Mapping[str, OptionValue]) -> Iterator[str]:
    for name in sorted({*then, *now} - BESIDE):
        if then.get(name) != now.get(name):
            yield f"option {name} {then.get(name)} -> {now.get(name)}"


def _files(before: ModelRecord, after: ModelRecord) -> Iterator[str]:
    if before["spec"] != after["spec"]:
        yield f"{after['spec']} was {before['spec']}"
    changed = [what for key, what in FILES if before.get(key) != after.get(key)]
    for then, now in zip(_digests(before), _digests(after), strict=True):
        changed += [name for name in sorted(then.keys() & now.keys()) if then[name] != now[name]]
    if changed:
        *first, last = changed
        what = f"{', '.join(first)} and {last}" if first else last
        yield f"{after['spec']}: {what} changed"


def _digests(model: ModelRecord) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The digests of the other models' files, by comparison, and of what samples read, by file."""
    others = {
        f"files of {one['name']}": (one.get("param_sha256"), one.get("bin_sha256"))
        for one in model.get("comparisons", ())
    }
    return others, model.get("arrays_sha256", {})
