"""What a first spec knows of inputs that a network joins: their shapes, and masks."""

from __future__ import annotations

import pytest
from first_specs import commented, shapes, sources

# -- what inputs tell of each other --------------------------------------------------------------


def test_a_state_that_is_joined_with_values_of_a_picture_depends_on_its_size() -> None:
    """As in a video matting network, whose states are an eighth as large as its picture."""
    layers = [
        "Input state 0 1 state",
        "Convolution down 1 1 in0 a 0=24 1=3 3=8 4=1 6=648",
        "Concat gates 2 1 a state b",
        "Convolution gate 1 1 b out0 0=16 1=3 4=1 6=5760",
    ]
    assert shapes(*layers) == ["[3, HEIGHT, WIDTH]", "[16, HEIGHT, WIDTH]"]
    assert "# Where in0 is [3, 640, 640], this is [16, 80, 80]." in commented(*layers)[1]


def test_a_state_of_another_state_is_known_in_its_turn() -> None:
    layers = [
        "Input first 0 1 first",
        "Input second 0 1 second",
        "Convolution down 1 1 in0 a 0=8 1=3 3=2 4=1 6=216",
        "Concat join 2 1 a second b",
        "Convolution conv 1 1 b c 0=8 1=3 3=2 4=1 6=864",
        "Concat again 2 1 first c d",
        "Convolution last 1 1 d out0 0=4 1=1 6=52",
    ]
    assert shapes(*layers)[1:] == ["[5, HEIGHT, WIDTH]", "[4, HEIGHT, WIDTH]"]


def test_a_constant_that_is_added_tells_nothing() -> None:
    mean = ["MemoryData mean 0 1 m 0=1 1=1 2=3", "BinaryOp shift 2 1 in0 m a 0=1"]
    conv = "Convolution conv 1 1 a out0 0=8 1=3 4=1 6=216"
    assert shapes(*mean, conv) == ["[3, HEIGHT, WIDTH]"]


def test_noise_that_is_scaled_by_a_vector_is_as_long() -> None:
    layers = [
        "Input noise 0 1 noise",
        "InnerProduct fc 1 1 in0 a 0=8 2=128",
        "BinaryOp scale 2 1 noise a out0 0=2",
    ]
    assert shapes(*layers) == ["[16]", "[8]"]


def test_words_of_an_attention_tell_its_cosines_and_its_mask() -> None:
    names = ["cos", "sin", "mask"]
    head = "0=16 1=2 2=6"
    layers = [
        *(f"Input {name} 0 1 {name}" for name in names),
        "Embed tok 1 1 in0 a 0=32 1=100 3=3200",
        f"Reshape heads 1 1 a b {head}",
        "Permute turn 1 1 b c 0=2",
        "Split fork 1 2 c q v",
        "RotaryEmbed rope 3 1 q cos sin k",
        "Split again 1 2 k k0 k1",
        "SDPA sdpa 4 1 k0 k1 v mask out0 5=1",
    ]
    assert shapes(*layers) == ["[6]", "[6, 8]", "[6, 8]", "[6, 6]"]


def test_a_concat_of_one_input_joins_nothing() -> None:
    layers = ["Input in1 0 1 in1", "Concat one 1 1 in1 a", "Convolution c 1 1 a b 0=8 1=1 6=32"]
    assert shapes("ReLU r 1 1 in0 out0", *layers)[1] == "[4, HEIGHT, WIDTH]"


@pytest.mark.parametrize("joins", [True, False])
def test_keys_of_words_before_are_as_the_new_ones(joins: bool) -> None:
    """Joined by a Concat in front of the attention, or by the attention itself."""
    joined = [
        "Concat keys 2 1 past k allkeys 0=1",
        "Concat values 2 1 before v allvalues 0=-2",
        "SDPA sdpa 4 1 q allkeys allvalues mask out0 5=1",
    ]
    cached = ["SDPA sdpa 6 3 q k v mask past before out0 keys values 5=1 7=1"]
    layers = [
        *(f"Input {name} 0 1 {name}" for name in ("mask", "past", "before")),
        "Embed tok 1 1 in0 a 0=32 1=100 3=3200",
        "Reshape heads 1 1 a b 0=16 1=2 2=-1",
        "Permute turn 1 1 b c 0=2",
        "Split fork 1 3 c q k v",
    ]
    known = shapes(*layers, *(joined if joins else cached))
    assert known == ["[LENGTH]", "[QUERIES, KEYS]", "[2, PAST, 16]", "[2, PAST, 16]"]
    example = "past is [2, 300, 16] and before is [2, 300, 16], this is [640, 940]."
    said = commented(*layers, *(joined if joins else cached))[1]
    assert any(line.endswith(example) for line in said)


def test_what_is_known_of_an_input_is_not_overruled_by_others() -> None:
    layers = [
        "Input noise 0 1 noise",
        "InnerProduct fc 1 1 in0 a 0=8 2=128",
        "Split fork 1 2 noise b c",
        "InnerProduct own 1 1 b d 0=4 2=16",
        "BinaryOp scale 2 1 c a out0 0=2",
    ]
    assert shapes(*layers) == ["[16]", "[4]"]


@pytest.mark.parametrize(
    ("channels", "guessed"), [(6, ["3", "3"]), (2, ["1", "1"]), (4, ["CHANNELS"] * 2)]
)
def test_pictures_side_by_side_are_guessed_where_one_way_fits(channels: int, guessed: list[str]) -> None:
    """Of 4 channels, 3 and 1 fit as well as 1 and 3."""
    second = ["Input in1 0 1 in1", "Concat pair 2 1 in0 in1 a"]
    conv = f"Convolution conv 1 1 a out0 0=8 1=3 4=1 6={72 * channels}"
    assert shapes(*second, conv) == [f"[{count}, HEIGHT, WIDTH]" for count in guessed]
    said = f"# The channels are a guess: in0 of {guessed[0]} and in1 of {guessed[1]} fit all layers."
    assert (said in commented(*second, conv)[0]) == ("CHANNELS" not in guessed)


def test_a_mask_that_hides_a_part_of_a_picture_has_one_channel() -> None:
    """As in inpainting: x * (1 - m) beside m."""
    layers = [
        "Input in1 0 1 in1",
        "Split fork 1 2 in1 m n",
        "BinaryOp keep 1 1 m a 0=7 1=1 2=1.0",
        "BinaryOp hide 2 1 in0 a b 0=2",
        "Concat join 2 1 b n c",
        "Convolution conv 1 1 c out0 0=8 1=3 4=1 6=288",
    ]
    assert shapes(*layers) == ["[3, HEIGHT, WIDTH]", "[1, HEIGHT, WIDTH]"]


def test_words_that_are_added_to_others_are_as_many() -> None:
    layers = [
        "Input kinds 0 1 kinds",
        "Embed tok 1 1 in0 a 0=32 1=100 3=3200",
        "Embed kind 1 1 kinds b 0=32 1=2 3=64",
        "MemoryData places 0 1 p 0=32 1=12",
        "BinaryOp place 2 1 a p c 0=0",
        "BinaryOp add 2 1 c b out0 0=0",
    ]
    assert shapes(*layers) == ["[12]", "[12]"]


def test_what_is_reshaped_to_given_sizes_is_a_vector() -> None:
    assert shapes("Reshape view 1 1 in0 out0 0=12 1=1 2=1") == ["[12]"]
    assert shapes("Reshape view 1 1 in0 out0 0=12 1=-1") == ["[CHANNELS, HEIGHT, WIDTH]"]
    assert shapes("Reshape view 1 1 in0 out0 0=12 1=0") == ["[CHANNELS, HEIGHT, WIDTH]"]


# -- a mask of an attention ----------------------------------------------------------------------


@pytest.mark.parametrize(("number", "is_mask"), [("-10000", True), ("-1e9", True), ("-2", False)])
def test_what_hides_words_is_fed_with_0_and_1(number: str, is_mask: bool) -> None:
    layers = ["BinaryOp rest 1 1 in0 a 0=7 1=1 2=1.0", f"BinaryOp hide 1 1 a out0 0=2 1=1 2={number}"]
    (source,) = sources(*layers)
    assert source.startswith("{random: integers, low: 0, high: 1," if is_mask else "{random: normal,")
    said = "# A mask: hide (BinaryOp) hides what is 0 and keeps what is 1."
    assert (said in commented(*layers)[0]) == is_mask


def test_two_pictures_and_the_time_between_them_are_told_by_who_reads_them() -> None:
    """As in an interpolation of frames: 7 channels are 3, 3 and 1 of the input that is not warped."""
    layers = [
        *("Input in1 0 1 in1", "Input time 0 1 time"),
        *("Split fork0 1 2 in0 a b", "Split fork1 1 2 in1 c d"),
        "Concat join 3 1 a c time e",
        "Convolution flow 1 1 e f 0=2 1=3 4=1 6=126",
        *("own.Warp warp0 2 1 b f out0", "own.Warp warp1 2 1 d f out1"),
    ]
    assert shapes(*layers) == [f"[{channels}, HEIGHT, WIDTH]" for channels in (3, 3, 1)]
    assert "guess: in0 of 3, in1 of 3 and time of 1" in commented(*layers)[2][0]


def test_a_mask_waits_for_the_words_and_their_places() -> None:
    layers = [
        *("Input mask 0 1 mask", "Input places 0 1 places"),
        *("Embed words 1 1 in0 a 0=8 1=50 3=400", "Embed at 1 1 places b 0=8 1=50 3=400"),
        "BinaryOp add 2 1 a b c",
        "MultiHeadAttention attention 2 1 c mask out0 0=8 1=2 2=64 3=8 4=8 5=1",
    ]
    mask = commented(*layers)[1]
    assert "# Where in0 is [640] and places is [640], this is [640, 640]." in mask


def attention(*, across: bool) -> list[str]:
    """A MultiHeadAttention with a mask and words before, to itself or to other values."""
    names = [*(["keys"] if across else []), "mask", "past_keys", "past_values"]
    count = len(names) + 1
    cached = f"in0 {' '.join(names)} out0 out1 out2 0=8 1=2 2=64 3=8 4=8 5=1 7=1"
    return [
        *(f"Input {name} 0 1 {name}" for name in names),
        f"MultiHeadAttention attention {count} 3 {cached}",
    ]


def test_words_before_of_an_attention_have_its_heads() -> None:
    layers = attention(across=False)
    assert shapes(*layers) == ["[LENGTH, 8]", "[QUERIES, KEYS]", "[2, PAST, 4]", "[2, PAST, 4]"]
    assert "this is [640, 1280]" in commented(*layers)[1][1]


def test_to_other_values_an_attention_adds_none_to_those_of_before() -> None:
    layers = attention(across=True)
    assert shapes(*layers)[3:] == ["[2, PAST, 4]", "[2, PAST, 4]"]
    assert "past_keys is [2, 640, 4]" in commented(*layers)[2][1]
    assert "this is [640, 640]" in commented(*layers)[2][1]


def test_words_before_are_as_many_as_a_reshape_behind_them_asks_for() -> None:
    layers = [
        "Input past 0 1 past",
        *("Embed tok 1 1 in0 a 0=8 1=50 3=400", "Reshape heads 1 1 a b 0=4 1=2 2=3"),
        *("Permute turn 1 1 b c 0=2", "Concat join 2 1 past c d 0=1", "Reshape all 1 1 d out0 0=8 1=8"),
    ]
    assert shapes(*layers) == ["[3]", "[2, 5, 4]"]


def test_the_equation_of_an_einsum_tells_a_shape() -> None:
    equation = "-23300=9," + ",".join(map(str, b"ik,kj->ij"))
    layers = [
        "Input noise 0 1 noise",
        *("Reshape rows 1 1 in0 a 0=4 1=6", "MemoryData own 0 1 b 0=5 1=4"),
        *(f"Einsum product 2 1 a b c {equation}", "BinaryOp add 2 1 noise c out0"),
    ]
    assert shapes(*layers) == ["[24]", "[6, 5]"]
