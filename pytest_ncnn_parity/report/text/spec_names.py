"""Short, distinct names of specs, for lines that are too short for their paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from pytest_ncnn_parity.report.text.line_width import cut, cut_left, cut_middle
from pytest_ncnn_parity.spec import SUFFIX

Names = Mapping[str, str]
CUTS: tuple[Callable[[str, int], str], ...] = (partial(cut_left, least=1), cut, cut_middle)


def levels(specs: Iterable[str]) -> list[Names]:
    """Return names of `specs` by path: first the paths themselves, then shorter names each time.

    The names within a level are distinct.
    """
    paths = list(dict.fromkeys(specs))
    tails = {path: _tail(path, paths) for path in paths}
    plain = {path: tail.removesuffix(SUFFIX) for path, tail in tails.items()}
    folders = {
        path: f"{name.partition('/')[0]}/..." if "/" in name else name for path, name in plain.items()
    }
    wanted = [{path: path for path in paths}, tails, plain, folders]
    return [names for names in wanted if len(set(names.values())) == len(paths)]


def cut_to(names: Names, width: int) -> Names:
    """Return `names` cut to `width` columns, at the place that leaves them distinct if there is one."""
    ways = [{path: way(name, width) for path, name in names.items()} for way in CUTS]
    return next((cuts for cuts in ways if len(set(cuts.values())) == len(names)), ways[0])


def _tail(path: str, paths: Iterable[str]) -> str:
    """Return the shortest end of `path`, in whole folders, with which no other of `paths` ends."""
    others = [f"/./{other}" for other in paths if other != path]
    folders = [".", *path.split("/")]
    ends = ["/".join(folders[start:]) for start in range(len(folders) - 1, -1, -1)]
    unique = (end for end in ends if not any(other.endswith(f"/{end}") for other in others))
    return next(unique, path)
