"""Settings that say a number for each lane: how they are written, and the weights among them."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

# At more, a lane of weight 1 would be as good as shut out.
WEIGHT_MAX = 1_000


def parse_pairs(value: object) -> object:
    """`text=8,file=2` as a mapping; anything but a string is left to the validator."""
    if not isinstance(value, str):
        return value
    pairs = [item.partition("=") for item in value.split(",") if item.strip()]
    return {name.strip(): number.strip() for name, _, number in pairs}


LANE = r"[a-z0-9][a-z0-9_-]{0,63}"
Positive = Annotated[int, Field(gt=0)]
Pairs = Annotated[dict[Annotated[str, Field(pattern=f"^{LANE}$")], Positive], NoDecode, BeforeValidator(parse_pairs)]


def weights_of(lanes: Mapping[str, int], weights: Mapping[str, int]) -> Mapping[str, int]:
    """The weight of each lane; 1 for those that `weights` leaves out."""
    return {lane: weights.get(lane, 1) for lane in lanes}


def unfit_weights(lanes: Mapping[str, int], weights: Mapping[str, int]) -> list[tuple[bool, str]]:
    """Whether each weight could not count, with what would be right."""
    served = ", ".join(sorted(lanes))
    return [
        (lane not in lanes, f"lane_weights: {lane!r} is no lane of worker_lanes; those are {served}")
        for lane in weights
    ] + [
        (weight > WEIGHT_MAX, f"lane_weights: the weight of {lane} must be at most {WEIGHT_MAX}, not {weight}")
        for lane, weight in weights.items()
    ]
