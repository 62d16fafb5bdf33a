"""The Python client of the ingestion service."""

from edgescale.client.client import Client

__all__ = ["Client"]
