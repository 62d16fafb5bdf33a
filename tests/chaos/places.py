"""Which providers can be had here, and why others cannot."""

from typing import NamedTuple

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.chaos import providers
from edgescale.harness.chaos.compose import compose_command
from edgescale.harness.chaos.server import Product

# Why images cannot be had, once for all tests: a registry that is away is slow to say so.
lacking: dict[str, str] = {}


class Place(NamedTuple):
    provider: str
    product: Product | None


async def needed_place(place: Place, *others: str) -> None:
    """Skip where this one cannot be had, with the reason; or the other images that it is to have."""
    if trouble := await trouble_of(place, *others):
        pytest.skip(f"provider {place.provider}: {trouble}")


async def trouble_of(place: Place, *others: str) -> str:
    """Why a provider cannot be had here; empty where it can."""
    if place.provider == "native":
        return ""
    if trouble := await providers.docker_trouble():
        return trouble
    try:
        if place.provider == "compose":
            await compose_command()
        for image in (str(place.product), *others):
            if image not in lacking:
                lacking[image] = await trouble_of_image(image)
            if lacking[image]:
                return lacking[image]
    except ConfigError as error:
        return str(error)
    return ""


async def trouble_of_image(image: str) -> str:
    async with providers.docker_provider() as provider:
        try:
            await provider.obtain(image)  # type: ignore[attr-defined]
        except ConfigError as error:
            return str(error)
    return ""
