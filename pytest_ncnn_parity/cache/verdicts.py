"""The cache as the rest of the package uses it: the results of a spec's samples, and their keys."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pytest_ncnn_parity.base import digests
from pytest_ncnn_parity.cache import code_files, machine, setup_code
from pytest_ncnn_parity.cache.store import Store
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.spec.sources import Source, file_of


class Cache:
    """Texts by spec, sample and subject. `options` are those that can change a verdict.

    `problem`: why something could not be kept, if so.
    """

    def __init__(self, folder: Path, options: Mapping[str, str]) -> None:
        self.problem = ""
        self._store = Store(folder)
        self._options = json.dumps(options, sort_keys=True)
        self._machine: Mapping[str, str] | None = None
        # the parts that were computed so far
        self._parts: dict[tuple[str, str], Mapping[str, str] | None] = {}

    def get(self, plan: Plan, sample: str, subject: str) -> str | None:
        """What is kept of `sample`, or under "" of all samples."""
        asked = (plan.name, sample)
        if asked not in self._parts:
            self._parts[asked] = self._current(plan, sample)
        parts = self._parts[asked]
        return None if parts is None else self._store.read({**parts, "subject": subject})

    def put(self, plan: Plan, sample: str, subject: str, text: str, worker: int) -> None:
        """Keep `text`, the result of the worker with that process id since the call of `get`.

        Not where a file has changed meanwhile, or where the worker's code is not known.
        """
        parts = self._parts.get((plan.name, sample))
        code = code_files.mapped(worker)
        if parts is None or code is None or parts != self._current(plan, sample):
            return
        try:
            self._store.write({**parts, "subject": subject}, text, code)
        except OSError as error:
            self.problem = f"no verdicts were kept: {error.strerror or error}"

    def _current(self, plan: Plan, sample: str) -> Mapping[str, str] | None:
        """The key's parts as they are now; None where a file cannot be read."""
        try:
            if self._machine is None:
                self._machine = machine.parts(os.environ)
            own = parts(plan, sample)
        except OSError:
            return None
        return {**self._machine, **own, "options": self._options}


def parts(plan: Plan, sample: str) -> dict[str, str]:
    """The parts of a key that are of the spec: its text, and the contents of all files it names.

    `sample` "" means all. Raises OSError.
    """
    spec = plan.spec
    samples = [sample] if sample else list(spec.samples)
    inputs = {
        f"{name} {blob}": _source(plan, source)
        for name in samples
        for blob, source in spec.inputs[name].items()
    }
    recordings = {
        f"{name} {blob}": _source(plan, source)
        for name in samples
        for blob, source in spec.samples[name].expect.items()
    }
    return {
        "sample": sample,
        "spec": digests.of_texts([spec.text]),
        # the key includes the text that was collected, because the file may have changed since
        "param": f"{digests.of_texts([plan.graph.text])} {digests.of_file(spec.param)}",
        "bin": digests.of_file(spec.bin),
        "others": json.dumps(
            {
                f"{files.param} {files.bin}": [
                    digests.of_texts([other.there.text]),
                    *map(digests.of_file, spec.beside(files)),
                ]
                for files, other in plan.others.items()
            },
            sort_keys=True,
        ),
        "inputs": json.dumps(inputs, sort_keys=True),
        "recordings": json.dumps(recordings, sort_keys=True),
        "setup": _setup(plan),
    }


def _source(plan: Plan, source: Source) -> str:
    """The digest of the file that `source` names; all else of a source is in the spec's text."""
    file = file_of(source)
    return "" if file is None else digests.of_file(plan.spec.path.parent / file)


def _setup(plan: Plan) -> str:
    if plan.spec.setup is None:
        return ""
    folders = (plan.project, plan.spec.path.parent)
    files = setup_code.files(plan.spec.setup, folders)
    digest = [digests.of_file(path) for path in files]
    return digests.of_texts([*digest, "", *setup_code.packages()])
