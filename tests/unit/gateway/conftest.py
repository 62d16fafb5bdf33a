from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from edgescale.config import Settings
from edgescale.gateway.app import make_app
from edgescale.gateway.upstream import Ingestion
from tests.unit.gateway.gateway_fixtures import CountedChance, ScriptedIngestion, http_client, serving, small_settings


@pytest.fixture
def ingestion() -> ScriptedIngestion:
    return ScriptedIngestion()


@pytest.fixture
async def target(ingestion: ScriptedIngestion) -> AsyncIterator[str]:
    async with serving(ingestion) as address:
        yield address


@pytest.fixture
def settings(target: str) -> Settings:
    return small_settings(target)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    async with Ingestion.connect(settings) as upstream:
        yield make_app(settings, upstream, CountedChance())


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(app) as client:
        yield client
