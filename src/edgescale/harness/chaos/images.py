"""The images of what runs in containers: pinned, and others where the environment says so."""

from collections.abc import Mapping
from typing import NamedTuple


class Image(NamedTuple):
    """An image that has a default.

    Attributes:
        variable: of the environment, names another one. Not EDGESCALE_*: the services refuse settings they do not know.
        default: what is taken otherwise.
    """

    variable: str
    default: str

    def name(self, environ: Mapping[str, str]) -> str:
        """The image that is to be used."""
        return environ.get(self.variable) or self.default


# docker-compose.test.yml names the same ones.
IMAGES = {
    "redis": Image("CHAOS_REDIS_IMAGE", "redis:7.0.15-alpine3.20"),
    "valkey": Image("CHAOS_VALKEY_IMAGE", "valkey/valkey:9.1.1-alpine"),
    "toxiproxy": Image("CHAOS_TOXIPROXY_IMAGE", "ghcr.io/shopify/toxiproxy:2.12.0"),
}
