"""Shell transcripts in the docs: their commands, what should come of each, and what does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ANY = "..."  # in a transcript: whatever stands here


@dataclass(frozen=True)
class Command:
    """One command of a transcript, and the output written below it."""

    text: str
    output: str

    def pattern(self) -> re.Pattern[str]:
        """The output, with `...` for anything, and any run of = or _ or blanks for another."""
        parts = [re.escape(part.strip()) for part in self.output.strip().split(ANY)]
        joined = r"[\s\S]*?".join(rf"\s*{part}\s*" for part in parts)
        joined = re.sub(r"(?:=){3,}", "=+", joined)
        joined = re.sub(r"(?:_){3,}", "_+", joined)
        return re.compile(re.sub(r"(?:\\ ){2,}", r"\\s+", joined))


def commands(markdown: str) -> list[Command]:
    """The commands of all ```console blocks, in order: a line that starts with `$ ` is one."""
    commands: list[Command] = []
    for block in re.findall(r"^```console\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, _, output = part.partition("\n")
            while text.endswith("\\"):
                more, _, output = output.partition("\n")
                text = text[:-1] + more.lstrip("> ")
            commands.append(Command(text, output))
    return commands


def run(command: Command, folder: Path) -> str:
    """What `command` prints, on stdout and stderr, in `folder`, on a terminal of 100 columns."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.stdout
