"""Workers over ssh, at a server of the test's own: refusals, deaths, hangs, cuts, each once."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import declared
import networks
import pytest
from conftest import Gate

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(os.name == "nt", reason="workers are spoken to from POSIX systems alone"),
]

SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
CLIENT = """\
Host closed
  Port 1
Host stranger
  UserKnownHostsFile /dev/null
Host keyless
  IdentityFile {folder}/none
Host * !keyless
  IdentityFile {folder}/key
Host shared
  ControlMaster auto
  ControlPath {folder}/socket
  ControlPersist 5
Host *.invalid
  HostName nowhere.invalid
Host *
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
"""
ACTS = {
    "dies": "os.kill(os.getpid(), 11)",
    "hangs": "time.sleep(1000)",
    "cut": "import psutil; psutil.Process(os.getppid()).parent().kill(); time.sleep(1000)",
}
REFUSED = {
    "closed": "nothing listens there",
    "stranger": "its host key is not known here",
    "keyless": "it refuses the login",
    "board.invalid": "its host is not known",
}
LAYERS = ["c1", "c2", "c3", "output:c3"]


@pytest.fixture
def sshd() -> Iterator[Path]:
    """The folder of an ssh server on 127.0.0.1, with the configuration of a client that knows it."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, "there is no sshd: install openssh-server, as tests/run does"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # which it wants where it may become others
    with tempfile.TemporaryDirectory(prefix="sshd-") as name:
        folder, port = Path(name), _free_port()
        for key in ("host", "key"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(make, check=True)
        facts = {"folder": folder, "port": port, "user": getpass.getuser()}
        for file, text in (("server.conf", SERVER), ("client.conf", CLIENT)):
            (folder / file).write_text(text.format(**facts), "utf-8")
        kind, key, *_ = (folder / "host.pub").read_text("utf-8").split()
        (folder / "known").write_text(f"[127.0.0.1]:{port} {kind} {key}\n", "utf-8")
        declared.program(folder, "ssh", f'exec {shutil.which("ssh")} -F {folder}/client.conf "$@"')
        command = [program, "-D", "-e", "-f", str(folder / "server.conf")]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as server:
            try:
                _await(port, folder / "log")
                yield folder
            finally:
                server.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _await(port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.05)
        else:
            return


def test_workers_over_ssh(
    gate: Gate, pytester: pytest.Pytester, sshd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pytester.path
    monkeypatch.setenv("PATH", str(sshd / "bin"), prepend=os.pathsep)
    networks.convolution(folder)
    fine = ("board", "shared")
    declared.ini(
        folder,
        *(f"{name}: ssh={name} python={sys.executable}" for name in (*fine, *REFUSED)),
        "bare: ssh=board python=/nowhere/python",
        *(f"{n}: ssh=board python={declared.acting(folder, n, act)}" for n, act in ACTS.items()),
    )
    names = [*fine, *REFUSED, "bare", *ACTS]
    compare = ", ".join(f"{{name: {name}, candidate: {{worker: {name}}}}}" for name in names)
    networks.spec(folder, f"{networks.NOISE}compare: [{compare}]\n")
    run = gate()

    def fates(name: str) -> list[str]:
        cases = [run.cases[f"noise::{name}::{layer}"] for layer in LAYERS]
        return [case["cause"] if case["outcome"] == "failed" else case["outcome"] for case in cases]

    for name in fine:
        assert fates(name) == ["passed"] * 4
        cases = [run.cases[f"noise::{name}::{layer}"] for layer in LAYERS]
        assert {case["metrics"]["max_abs"] for case in cases} == {0}
    for name, said in {**REFUSED, "bare": "there is no /nowhere/python there"}.items():
        assert fates(name) == ["worker", "skipped", "skipped", "skipped"]
        assert said in run.cases[f"noise::{name}::c1"]["message"]
    assert fates("dies") == ["passed", "crash", "passed", "passed"]
    assert "SIGSEGV" in run.cases["noise::dies::c2"]["message"]
    assert fates("hangs") == ["passed", "timeout", "passed", "passed"]
    assert fates("cut") == ["passed", "worker", "passed", "passed"]
    assert declared.left_running(folder) == []
