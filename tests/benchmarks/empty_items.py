"""A pytest plugin whose `*.empty` files hold items that do nothing: what pytest itself costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


class EmptyItem(pytest.Item):
    def runtest(self) -> None:
        pass

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


class EmptyFile(pytest.File):
    def collect(self) -> Iterator[EmptyItem]:
        for number in range(int(self.path.read_text(encoding="utf-8"))):
            yield EmptyItem.from_parent(self, name=f"item_{number}")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> EmptyFile | None:
    return EmptyFile.from_parent(parent, path=file_path) if file_path.suffix == ".empty" else None
