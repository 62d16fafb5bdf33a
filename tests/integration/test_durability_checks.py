"""What each durability profile asks of a server, and what is said of one that keeps less."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgescale.broker.inspect import check_server
from edgescale.config import Settings
from edgescale.errors import BrokerUnavailable, ConfigError
from edgescale.local.valkey import EmbeddedValkey
from tests.pairs import Pair, ask, paired
from tests.servers import own_names
from tests.support import open_rig

STRICT = Settings(durability="strict")


@pytest.fixture(params=own_names())
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    async with paired(request.param, tmp_path) as started:
        yield started


async def check(server: EmbeddedValkey, settings: Settings, *, user: str = "") -> None:
    url = server.url.replace("//", f"//{user}:secret@") if user else server.url
    async with open_rig(url) as rig:
        await check_server(rig.connection, settings)


async def test_the_embedded_server_is_good_enough_for_standard(private_server: EmbeddedValkey) -> None:
    await check(private_server, Settings())


async def test_a_server_without_an_append_only_file_is_refused_with_both_remedies(
    private_server: EmbeddedValkey,
) -> None:
    await ask(private_server, "CONFIG", "SET", "appendonly", "no")
    with pytest.raises(ConfigError, match=r"redis_url: .*set its appendonly to yes, or set EDGESCALE_DURABILITY=none"):
        await check(private_server, Settings())
    with pytest.raises(ConfigError, match="set its appendonly to yes"):
        await check(private_server, STRICT)
    await check(private_server, Settings(durability="none"))


async def test_a_server_that_never_syncs_is_refused(private_server: EmbeddedValkey) -> None:
    await ask(private_server, "CONFIG", "SET", "appendfsync", "no")
    with pytest.raises(ConfigError, match=r"appendfsync is no.*set it to everysec, or set EDGESCALE_DURABILITY=none"):
        await check(private_server, Settings())
    await check(private_server, Settings(durability="none"))


async def test_strict_refuses_a_server_that_syncs_every_second(pair: Pair) -> None:
    await ask(pair.primary, "CONFIG", "SET", "appendfsync", "everysec")
    with pytest.raises(ConfigError, match=r"appendfsync is everysec, and EDGESCALE_DURABILITY=strict needs always"):
        await check(pair.primary, STRICT)
    await check(pair.primary, Settings())


async def test_strict_refuses_too_few_replicas_by_number(pair: Pair) -> None:
    await check(pair.primary, STRICT)
    with pytest.raises(
        BrokerUnavailable, match=r"has 1 replicas online, and .*strict needs 2 \(EDGESCALE_REPLICAS_MIN\)"
    ):
        await check(pair.primary, Settings(durability="strict", replicas_min=2))


async def test_a_server_that_hides_its_settings_is_refused_by_strict_alone_until_somebody_answers_for_it(
    pair: Pair,
) -> None:
    await ask(pair.primary, "ACL", "SETUSER", "guest", "on", ">secret", "~*", "&*", "+@all", "-config")
    await check(pair.primary, Settings(), user="guest")
    with pytest.raises(ConfigError, match=r"cannot be verified; allow CONFIG GET .*ALLOW_UNVERIFIED_DURABILITY=true"):
        await check(pair.primary, STRICT, user="guest")
    await check(pair.primary, Settings(durability="strict", allow_unverified_durability=True), user="guest")
