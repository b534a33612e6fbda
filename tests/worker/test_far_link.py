"""The pipes to a worker: a server that answers wrongly, not at all, or without end, is reported."""

from __future__ import annotations

import ast
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_ncnn_parity.engine.workers import Worker
from pytest_ncnn_parity.worker.far import answers, link
from pytest_ncnn_parity.worker.far.link import Ended, Garbled, Late, Link

pytestmark = pytest.mark.once

ROOM = Path(link.__file__).parent

# reads the program as a worker's Python does, and greets in its place
HOSTILE = """\
import json, os, sys
stdin = sys.stdin.buffer
stdin.read(int(stdin.readline()))
nonce = json.loads(stdin.readline())["nonce"]
def say(text): os.write(1, text if isinstance(text, bytes) else text.encode())
def answer(message, data=b"", **more):
    say(json.dumps({"bytes": len(data), **message}) + "\\n"); say(data); say(nonce + "\\n")
say(f"\\nncnn-parity-worker {nonce}\\n")
answer({"hello": 1})
stdin.readline()
"""


@pytest.fixture
def linked(tmp_path: Path) -> Callable[[str], Link]:
    """A link to a server that does so once it was asked."""
    links = []

    def start(then: str, before: str = HOSTILE) -> Link:
        script = tmp_path / "server.py"
        script.write_text(before + then, "utf-8")
        worker = Worker("w", "command", (sys.executable, str(script)))
        links.append(Link(worker, lambda: None))
        return links[-1]

    yield start
    for one in links:
        one.kill()


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("say('nonsense\\n')", "which is not an answer"),
        ("say('[1]\\n')", "which is not an answer"),
        ("say('{\"bytes\": NaN}\\n')", "which is not an answer"),
        ("say('[' * 100000 + '\\n')", "which is not an answer"),
        ("say(b'\\xff\\xfe\\n')", "which is not an answer"),
        ("answer({}, b'12')", "comes with 2 bytes, not 0"),
        ("answer({'bytes': -1})", "comes with -1 bytes, not 0"),
        ("answer({'bytes': 'many'})", "comes with 'many' bytes, not 0"),
        ("say('{\"bytes\": 0}\\nanother\\n')", "its answer ends with 'another'"),
    ],
)
def test_what_is_not_an_answer_is_reported(linked: Callable[[str], Link], then: str, said: str) -> None:
    one = linked(then + "\nstdin.read()")
    assert one.greet(None, 30)["hello"] == 1
    with pytest.raises(Garbled, match=said):
        one.ask({"do": "run"}, [], 30)


def test_a_line_without_end_is_reported(
    linked: Callable[[str], Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "LONGEST_LINE", 1 << 20)
    one = linked("while True: say(b'x' * 65536)")
    one.greet(None, 30)
    with pytest.raises(Garbled, match="has no end"):
        one.ask({"do": "run"}, [], 30)


def test_silence_ends_at_the_time_limit(linked: Callable[[str], Link]) -> None:
    one = linked("stdin.read()")
    one.greet(None, 30)
    start = time.monotonic()
    with pytest.raises(Late):
        one.ask({"do": "run"}, [], 0.3)
    assert 0.3 <= time.monotonic() - start < 10


def test_a_slow_link_gives_signs_of_life_while_bytes_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "GLANCE", 0.1)
    signs = []
    script = tmp_path / "server.py"
    slowly = "import time\nfor _ in range(40): say(' '); time.sleep(0.02)\nanswer({}); stdin.read()"
    script.write_text(HOSTILE + slowly, "utf-8")
    one = Link(Worker("w", "command", (sys.executable, str(script))), lambda: signs.append(1))
    try:
        one.greet(None, 30)
        signs.clear()
        one.ask({"do": "run"}, [], 30)
        assert 3 <= len(signs) <= 500
    finally:
        one.kill()


def test_a_notice_of_an_end_is_believed_with_the_secret_of_this_link_alone(
    linked: Callable[[str], Link],
) -> None:
    notice = json.dumps({"died": -11, "said": "last words"})
    one = linked(f"say(f'\\nncnn-parity-worker {{nonce}} ' + {notice!r} + '\\n')")
    one.greet(None, 30)
    with pytest.raises(Ended) as caught:
        one.ask({"do": "run"}, [], 30)
    assert (caught.value.code, caught.value.said) == (-11, "last words")
    one = linked(f"say('\\nncnn-parity-worker 0000 ' + {notice!r} + '\\n'); sys.exit(5)")
    one.greet(None, 30)
    with pytest.raises(Ended) as caught:
        one.ask({"do": "run"}, [], 30)
    assert (caught.value.code, caught.value.status) == (None, 5)


@pytest.mark.parametrize(
    ("before", "error"),
    [
        ("print('Welcome!\\n' * 10000, flush=True); import time; time.sleep(60)", Garbled),
        ("import sys; sys.exit('no such thing')", Ended),
    ],
)
def test_what_does_not_greet_is_reported(
    linked: Callable[[str, str], Link], before: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        linked("", before).greet(None, 30)


def test_what_a_login_script_prints_is_passed_over(linked: Callable[[str, str], Link]) -> None:
    greeted = linked("stdin.read()", "print('Last login: today', flush=True)\n" + HOSTILE)
    assert greeted.greet(None, 30)["hello"] == 1


NONCE = "0123456789abcdef"


def _said(message: dict[str, object], data: bytes = b"") -> bytes:
    return json.dumps({**message, "bytes": len(data)}).encode() + b"\n" + data + f"{NONCE}\n".encode()


CONVERSATION = (
    f"\n{link.MAGIC} {NONCE}\n".encode()
    + _said({"hello": 1})
    + _said({"outputs": [[0, [2, 3], "f"]], "ms": 1.0}, bytes(range(24)))
    + f"\n{link.MAGIC} {NONCE} ".encode()
    + json.dumps({"died": -11, "said": "words"}).encode()
    + b"\n"
)
SAY = "cat {}; exec >&-; cat >/dev/null"  # and listens on, so that what is written to it is taken
CHANGES = st.lists(
    st.tuples(st.integers(0, len(CONVERSATION)), st.integers(0, 30), st.binary(max_size=30)),
    max_size=3,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
@example(changes=[])
def test_any_bytes_are_an_answer_or_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[tuple[int, int, bytes]]
) -> None:
    said = CONVERSATION
    for at, lost, more in changes:
        said = said[:at] + more + said[at + lost :]
    (tmp_path / "said").write_bytes(said)
    (tmp_path / "server").write_text(SAY.format(shlex.quote(str(tmp_path / "said"))), "utf-8")
    monkeypatch.setattr("secrets.token_hex", lambda _: NONCE)
    monkeypatch.setattr(link, "END_SECONDS", 0.01)
    one = Link(Worker("w", "command", ("sh", str(tmp_path / "server"))), lambda: None)
    try:
        assert isinstance(one.greet(None, 30), dict)
        message, data = one.ask({"do": "run"}, [], 30, lambda answer: answers.size(answer, 1))
        assert len(data) == answers.size(message, 1)
    except (Ended, Garbled):
        assert changes  # as it stands it is an answer
    finally:
        one.kill()


@pytest.mark.parametrize("name", link.SENT)
def test_what_goes_there_needs_python_3_9_and_ncnn_alone(name: str) -> None:
    tree = ast.parse((ROOM / f"{name}.py").read_text("utf-8"), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module != f"{link.__package__}.store":
            imported.add(str(node.module).partition(".")[0])
    assert imported - {"ncnn"} <= set(sys.stdlib_module_names)
