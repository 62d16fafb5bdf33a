"""Dead letters, listed, shown and purged."""

import pytest

from edgescale.broker import letter_reader
from edgescale.broker.letters import LetterFilter, LetterId
from edgescale.errors import InvalidInput, NotFound
from tests.servers import Server
from tests.support import LANE, Rig, open_rig, settlement, submission


async def listed(rig: Rig, wanted: LetterFilter | None = None, *, size: int = 100) -> list[list[str]]:
    """The request ids on each page."""
    pages, token = [], ""
    while True:
        page = await rig.letters.page(wanted or LetterFilter(), size=size, token=token)
        pages.append([letter.request_id for letter in page.letters])
        token = page.next_page_token
        if not token:
            return pages


async def test_there_may_be_none(rig: Rig) -> None:
    assert await listed(rig) == [[]]


@pytest.mark.one_partition
async def test_the_newest_come_first_page_by_page(rig: Rig) -> None:
    await rig.bury(*[f"r{number}" for number in range(5)])

    assert await listed(rig, size=2) == [["r4", "r3"], ["r2", "r1"], ["r0"]]
    assert await listed(rig, size=5) == [["r4", "r3", "r2", "r1", "r0"]]


async def test_pages_go_over_all_partitions_and_miss_none(server: Server) -> None:
    async with open_rig(server.url, partitions=3) as rig:
        names = [f"r{number}" for number in range(12)]
        for name in names:
            await rig.bury(name)

        pages = await listed(rig, size=5)

        assert [len(page) for page in pages] == [5, 5, 2]
        assert sorted(name for page in pages for name in page) == sorted(names)
        buried_ms = [(await rig.letters.show(name)).buried_ms for page in pages for name in page]
        assert buried_ms == sorted(buried_ms, reverse=True)


async def test_letters_of_one_moment_in_different_partitions_are_all_listed_once(server: Server) -> None:
    async with open_rig(server.url, partitions=3) as rig:
        for partition in range(3):
            for entry_id in ("5-0", "5-1"):
                await rig.connection.command(
                    "XADD", rig.keys.dead(partition), entry_id, "request_id", f"{partition}/{entry_id}"
                )

        for size in (1, 2, 3, 4, 6, 7):
            names = [name for page in await listed(rig, size=size) for name in page]
            assert names == ["2/5-1", "1/5-1", "0/5-1", "2/5-0", "1/5-0", "0/5-0"]


async def test_letters_that_are_buried_while_somebody_turns_pages_do_not_disturb_him(rig: Rig) -> None:
    await rig.bury("r1", "r2", "r3")
    first = await rig.letters.page(size=2)
    await rig.bury("r4")
    await rig.letters.purge(["r3"])

    second = await rig.letters.page(size=2, token=first.next_page_token)

    assert [letter.request_id for letter in second.letters] == ["r1"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (LetterFilter(lane="text"), ["r3", "r2", "r1"]),
        (LetterFilter(lane="file"), ["f1"]),
        (LetterFilter(reason="ONE"), ["f1", "r1"]),
        (LetterFilter(reason="ONE", lane="text"), ["r1"]),
        (LetterFilter(kind="text", reason="TWO"), ["r3", "r2"]),
        (LetterFilter(request_id="r2"), ["r2"]),
        (LetterFilter(kind="no"), []),
    ],
)
async def test_a_filter_leaves_out_what_does_not_match(wanted: LetterFilter, found: list[str], rig: Rig) -> None:
    await rig.bury("r1", reason="ONE")
    await rig.bury("r2", "r3", reason="TWO")
    await rig.bury("f1", reason="ONE", lane="file")

    assert await listed(rig, wanted) == [found]
    assert [name for page in await listed(rig, wanted, size=1) for name in page] == found


async def test_a_page_that_looked_at_many_in_vain_is_short_and_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letter_reader, "LOOKS_MAX", 3)
    async with open_rig(server.url, partitions=2) as rig:
        await rig.bury("sought", reason="RARE")
        await rig.bury(*[f"r{number}" for number in range(10)])

        pages = await listed(rig, LetterFilter(reason="RARE"))

        assert len(pages) > 1
        assert [name for page in pages for name in page] == ["sought"]
        assert (await rig.letters.show("sought")).request_id == "sought"
        assert len([name for page in await listed(rig) for name in page]) == 11


@pytest.mark.parametrize("token", ["?", "abc", "MA", "9" * 50, "ä"])
async def test_a_token_of_somebody_else_is_refused(token: str, rig: Rig) -> None:
    with pytest.raises(InvalidInput, match="page_token: must be the next_page_token of an earlier answer"):
        await rig.letters.page(token=token)


def test_a_letters_id_says_where_it_stands() -> None:
    letter_id = LetterId.of(3, "1700000000000-12")

    assert str(letter_id) == "3-1700000000000-12"
    assert LetterId.parse(str(letter_id)) == letter_id
    assert LetterId.of_token(letter_id.token) == letter_id
    for text in ("", "1-2", "a-1-2", "1-2-3-4", "-1-2-3", "1-2-³"):
        assert LetterId.parse(text) is None


async def test_a_list_tells_the_size_of_what_it_leaves_out(rig: Rig) -> None:
    await rig.broker.submit(submission("r1", b"x" * 10_000))
    [entry] = await rig.take()
    await rig.broker.settle("worker-1", settlement(entry, state="dead_lettered", reason="R", message="m"))

    [letter] = (await rig.letters.page()).letters
    whole = await rig.letters.show(str(letter.id))

    assert (letter.fields, letter.history) == ({}, ())
    assert letter.size_bytes == whole.size_bytes == sum(len(name) + len(value) for name, value in entry.fields.items())
    assert whole.fields == entry.fields
    assert (whole.worker, whole.entry, whole.accepted_ms) == ("worker-1", entry.entry_id, entry.accepted_ms)


async def test_a_letter_is_shown_by_its_own_id_and_by_its_tasks(rig: Rig) -> None:
    await rig.bury("r1", "r2")
    [_, letter] = (await rig.letters.page()).letters

    assert (await rig.letters.show(str(letter.id))).request_id == "r1"
    assert (await rig.letters.show("r1")).id == letter.id
    await rig.connection.command("DEL", rig.keys.task("r1"))
    assert (await rig.letters.show("r1")).id == letter.id


async def test_the_newest_of_a_tasks_letters_is_meant(rig: Rig) -> None:
    for reason in ("FIRST", "SECOND"):
        await rig.connection.command("DEL", rig.keys.task("r1"))
        await rig.bury("r1", reason=reason)

    assert (await rig.letters.show("r1")).reason == "SECOND"
    await rig.connection.command("DEL", rig.keys.task("r1"))
    assert (await rig.letters.show("r1")).reason == "SECOND"


async def test_a_request_id_that_looks_like_a_letters_id_is_found_too(rig: Rig) -> None:
    await rig.bury("0-5-0")

    assert (await rig.letters.show("0-5-0")).request_id == "0-5-0"


@pytest.mark.parametrize("name", ["nobody", "0-1-1", "5-1-1", "99999-1-1"])
async def test_what_is_not_there_is_not_shown(name: str, rig: Rig) -> None:
    await rig.bury("r1")

    with pytest.raises(NotFound, match=f"no dead letter '{name}'"):
        await rig.letters.show(name)


async def test_a_letter_that_is_damaged_is_shown_as_far_as_it_can_be(rig: Rig) -> None:
    await rig.connection.command(
        "XADD", rig.keys.dead(0), "7-1", "attempts", "many", "history", b'{"\xff\n[1]\n', "kind", b"\xff"
    )

    letter = await rig.letters.show("0-7-1")

    assert (letter.request_id, letter.attempts, letter.history, letter.kind) == ("", 0, [], "\ufffd")
    assert await listed(rig) == [[""]]


async def test_an_undecodable_letter_is_shown_and_purged(rig: Rig) -> None:
    await rig.connection.command("XADD", rig.keys.stream(0, LANE), "*", "who", b"\xff\x00")
    [entry] = await rig.take()
    name = f"entry-{entry.entry_id}"
    await rig.broker.settle("worker-1", settlement(entry, name, state="dead_lettered", reason="UNDECODABLE"))

    letter = await rig.letters.show(name)

    assert (letter.reason, letter.fields) == ("UNDECODABLE", {b"who": b"\xff\x00"})
    assert await rig.letters.purge([name]) == 1
    assert await rig.dead_letters() == []


# Purge.


async def test_purged_letters_are_gone_and_their_tasks_keep_their_end(rig: Rig) -> None:
    await rig.bury("r1", "r2", "r3")

    assert await rig.letters.purge(["r1", "r3", "nobody"]) == 2

    assert await listed(rig) == [["r2"]]
    record = await rig.broker.lookup("r1")
    assert record is not None
    assert record.state == "dead_lettered"
    assert await rig.letters.purge(["r1"]) == 0


async def test_only_what_matches_is_purged(rig: Rig) -> None:
    await rig.bury("r1", "r2", reason="ONE")
    await rig.bury("r3", reason="TWO")

    progress = await rig.letters.purge_all(LetterFilter(reason="ONE"))

    assert (progress.purged, progress.next_page_token) == (2, "")
    assert await listed(rig) == [["r3"]]


async def test_everything_can_be_purged_over_all_partitions(server: Server) -> None:
    async with open_rig(server.url, partitions=2) as rig:
        await rig.bury(*[f"r{number}" for number in range(10)])

        assert (await rig.letters.purge_all()).purged == 10
        assert await listed(rig) == [[]]


async def test_a_purge_without_time_goes_on_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_reader, "LOOKS_MAX", 1)
    await rig.bury("r1", "r2")

    first = await rig.letters.purge_all(until=0.0)
    second = await rig.letters.purge_all(token=first.next_page_token)

    assert (first.purged, second.purged, second.next_page_token) == (1, 1, "")
