"""Where a report comes from: the machine, and the commit of what was tested."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

COMMIT_VARIABLES = ("GITHUB_SHA", "CI_COMMIT_SHA", "BITBUCKET_COMMIT", "GIT_COMMIT")
GIT_SECONDS = 5.0


def host() -> str | None:
    """Return the machine's host name, or None if it has none."""
    return platform.node() or None


def commit(project: Path, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the commit checked out in `project`, from the CI service or git, or None if unknown.

    A `+` follows it if a tracked file has changed since.
    """
    for name in COMMIT_VARIABLES:
        if environment.get(name):
            return environment[name]
    revision = _git(project, "rev-parse", "--verify", "--quiet", "HEAD")
    if not revision:
        return None
    changed = _git(project, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}+" if changed else revision


def _git(project: Path, *words: str) -> str:
    """Return the output of a git command, which is empty if git fails, hangs or is not installed."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        answer = subprocess.run(
            [git, "--no-optional-locks", "-C", str(project), *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
