"""What fuzzing found, each a file of corpus/: it stays an error, or becomes a plan that can be shown."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import networks
import pytest

sys.path.append(str(Path(__file__).parent))
import judge

from pytest_ncnn_parity.base.errors import ParityError
from pytest_ncnn_parity.plan import check
from pytest_ncnn_parity.spec import spec

CORPUS = Path(__file__).parents[1] / "corpus"

PLANNED = ""  # no error: it becomes a plan
VERDICTS = {
    "escape_in_a_path.yaml": r"1:16: model file .*/\\x1b\[31mred does not exist",
    "nul_in_the_text.yaml": r"2:12: not valid YAML: the control character U\+0000",
    "nul_in_a_path.yaml": r"1:32: the character U\+0000 is not allowed",
    "path_longer_than_a_system_takes.yaml": "1:32: .*cannot be read: File name too long",
    "path_of_5000_characters.yaml": "1:32: .*x{200,300}.* cannot be read: File name too long",
    "known_output_of_5000_digits.yaml": r"3:9: known: no output '999+\.\.\.9+'",
    "mask_of_3000_hex_digits.yaml": r"3:13: masks\.l1: .*a whole number; found '0xf+\.\.\.f+'",
    "shape_of_a_petabyte.yaml": "2:47: .*has 1000000000000000 elements; expected at most 134217728",
    "constant_beyond_fp32.yaml": r"2:34: .*3\.40282e\+38 or less; found 1e\+300",
    "option_of_python.yaml": r"3:61: .*expected the name of an option of ncnn",
    "joiner_in_a_comparison.yaml": "3:18: .*expected characters that can be printed, on one line",
    "surrogate.yaml": "3:12: not valid YAML: found invalid Unicode character escape code",
    "alias_of_itself.yaml": r"2:\d+: too large or too deep",
    "aliases_of_aliases.yaml": r"\d+:\d+: too large or too deep",
    "lines_in_a_reason.yaml": "3:29: .*expected characters that can be printed, on one line",
    "escape_in_names.param": PLANNED,
    "same_name_after_escape.param": PLANNED,
    "mask_of_minus_one.param": "4: layer r: mask 31=-1 is not a whole number from 0 to 255",
    "id_beyond_ncnns.param": "4: layer r: 32=: expected an id from 0 to 31",
    "array_of_a_billion.param": "4: layer r: .* announces 1000000000 values, but 1 follow",
    "room_for_a_billion_blobs.param": "2: 999999999 blobs announced, 2 found",
    "shape_hint_for_no_output.param": "4: layer r: -23330 states the shapes of outputs",
    "word_that_is_no_parameter.param": "4: layer r: expected id=value, found 'more'",
    "type_that_is_a_number.param": "4: layer r: the type '3D' does not begin with a letter",
    "name_that_ncnn_cuts.param": r"4: layer r+\.\.\.: the name .* longer than the 255 bytes",
    "cycle.param": r"4: layer a .*, but b on line 5: a cycle",
    "byte_order_mark.param": "1: begins with a byte order mark, which ncnn refuses",
}


def test_every_file_of_the_corpus_has_its_verdict() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_what_was_found_has_the_right_verdict(name: str, tmp_path: Path) -> None:
    networks.chain(tmp_path)
    path = networks.spec(tmp_path, networks.NOISE)
    bad = tmp_path / "net.param" if name.endswith(".param") else path
    bad.write_bytes((CORPUS / name).read_bytes())
    assert judge.collect(path, tmp_path) == ("refused" if VERDICTS[name] else "planned")
    if VERDICTS[name]:
        with pytest.raises(ParityError) as caught:
            check.plan(spec.load(path, tmp_path), root=tmp_path)
        assert re.match(f"{bad}:{VERDICTS[name]}", str(caught.value))
