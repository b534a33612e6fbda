"""The type of numpy's arrays. The parent process, which never imports numpy, does not import this."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
