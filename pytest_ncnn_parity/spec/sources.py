"""The keys of a spec's samples: where the values of an input come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pytest_ncnn_parity.base.errors import counted
from pytest_ncnn_parity.network.shapes import given
from pytest_ncnn_parity.spec.keys import INT32, Keys, Name


def _feasible(shape: list[int]) -> list[int]:
    problem = given.too_large(shape)
    if problem:
        raise ValueError(problem)
    return shape


FP32_MAX = 3.4028234663852886e38

Size = Annotated[int, Field(ge=1, lt=INT32)]
Shape = Annotated[list[Size], Field(min_length=1, max_length=4), AfterValidator(_feasible)]
Value = Annotated[float, Field(ge=-FP32_MAX, le=FP32_MAX, allow_inf_nan=False)]  # the value fits fp32


def _whole(value: float) -> bool:
    return float(value).is_integer() and -INT32 <= value < INT32


class RandomSource(Keys):
    """Values drawn from a seed.

    normal: by mean and std, clipped to low..high. uniform: low..high, 0..1. smooth: like a photograph
    or a sound, low..high, 0..1. integers: whole numbers from low, 0, to high, both included. seed: by
    default the input's place in its sample, 0, 1, ..., so that no two of them hold the same numbers.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"random": {"const": "integers"}}},
            "then": {"required": ["high"]},
        }
    )

    random: Literal["normal", "uniform", "smooth", "integers"]
    shape: Shape | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    mean: Value = 0.0
    std: Annotated[Value, Field(ge=0)] = 1.0
    low: Value | None = None
    high: Value | None = None

    def seed_at(self, place: int) -> int:
        """The seed of the input at this `place` of its sample, from 0."""
        return place if self.seed is None else self.seed

    @model_validator(mode="after")
    def _keys_of_its_own(self) -> RandomSource:
        for key in ("mean", "std"):
            if self.random != "normal" and key in self.model_fields_set:
                raise ValueError(f"the key {key!r} goes with random: normal, not with {self.random}")
        if self.random == "integers" and self.high is None:
            raise ValueError("random: integers needs the key 'high', the largest that may come")
        return self

    @model_validator(mode="after")
    def _bounded(self) -> RandomSource:
        low, high = self.bounds
        integers = self.random == "integers"
        for name, bound in (("low", low), ("high", high)):
            if integers and bound is not None and not _whole(bound):
                raise ValueError(f"{name} ({bound:g}) must be a whole number of 32 bits")
        if low is not None and high is not None and (low > high or (low == high and not integers)):
            raise ValueError(f"low ({low:g}) must be below high ({high:g})")
        return self

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The smallest and the largest value that may be drawn, if they are bounded."""
        if self.random == "normal":
            return self.low, self.high
        return (
            0.0 if self.low is None else self.low,
            1.0 if self.high is None else self.high,
        )


class ConstantSource(Keys):
    """One value everywhere."""

    constant: Value
    shape: Shape | None = None


class FileSource(Keys):
    """A recorded array: .npy, or .npz with the key of an array in it."""

    file: Name
    key: Name | None = None


class ImageSource(Keys):
    """Pixels, then (pixel - mean) * norm by channel, as ncnn's substract_mean_normalize does."""

    image: Name
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    size: Annotated[list[Size], Field(min_length=2, max_length=2)] | None = None  # width and height
    mean: list[Value] | None = None
    norm: list[Value] | None = None

    @model_validator(mode="after")
    def _channels(self) -> ImageSource:
        channels = 1 if self.color == "gray" else 3
        for name, values in (("mean", self.mean), ("norm", self.norm)):
            if values is not None and len(values) != channels:
                raise ValueError(
                    f"{name} has {counted(len(values), 'value')}, and an image in {self.color} has "
                    f"{counted(channels, 'channel')}"
                )
        if self.size is not None:
            _feasible([channels, *reversed(self.size)])
        return self


SOURCES: dict[str, type[BaseModel]] = {
    "random": RandomSource,
    "constant": ConstantSource,
    "file": FileSource,
    "image": ImageSource,
}


def _source_kind(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else {}
    return next((kind for kind in SOURCES if kind in keys), None)


Source = Annotated[
    Annotated[RandomSource, Tag("random")]
    | Annotated[ConstantSource, Tag("constant")]
    | Annotated[FileSource, Tag("file")]
    | Annotated[ImageSource, Tag("image")],
    Discriminator(_source_kind),
]


def file_of(source: Source) -> str | None:
    """The file that `source` reads, as the spec names it."""
    if isinstance(source, FileSource):
        return source.file
    return source.image if isinstance(source, ImageSource) else None


class Sample(Keys):
    """What is fed to the network, by blob, and what was recorded of its blobs elsewhere.

    In a spec both are in one mapping: the key `expect` is the recording, unless its value is a source.
    """

    blobs: dict[Name, Source]
    expect: Annotated[dict[Name, FileSource], Field(min_length=1)] = {}

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, given: Any) -> Any:
        if isinstance(given, dict) and "expect" in given and _is_recording(given["expect"]):
            blobs = {key: value for key, value in given.items() if key != "expect"}
            return {"blobs": blobs, "expect": given["expect"]}
        return {"blobs": given}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """As the spec writes it, where `blobs` is no key."""
        reference = handler(schema)
        sample = handler.resolve_ref_schema(reference)
        keys = sample.pop("properties")
        del sample["required"]
        source = keys["blobs"]["additionalProperties"]
        sample["additionalProperties"] = source
        sample["properties"] = {"expect": {"anyOf": [keys["expect"], source]}}
        return reference


def _is_recording(value: Any) -> bool:
    """Whether the value of `expect` names output blobs; a source has a plain value by its kind."""
    kind = _source_kind(value)
    return kind is None or isinstance(value[kind], dict)
