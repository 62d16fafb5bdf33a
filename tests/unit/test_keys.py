"""Names in Redis: they are an interface between versions and between processes."""

import pytest

from edgescale.broker.keys import GROUP, Keys


def tag(key: str) -> str:
    """The part of a key that decides its slot in a cluster."""
    return key[key.index("{") + 1 : key.index("}")]


def test_names_are_what_the_documentation_says() -> None:
    keys = Keys()
    assert keys.stream(0, "text") == "edgescale:{p0}:stream:text"
    assert keys.task("r1") == "edgescale:{p0}:task:r1"
    assert keys.dead(0) == "edgescale:{p0}:dead"
    assert keys.channel(0, "box") == "edgescale:{p0}:result:box"
    assert keys.agent("a1") == "edgescale:{p0}:agent:a1"
    assert keys.agents(0) == "edgescale:{p0}:agents"
    assert keys.backlog(0, "text") == ["edgescale:{p0}:stream:text", "edgescale:{p0}:waiting:text"]
    assert keys.of_chain(0, "text", "k") == ["edgescale:{p0}:waiting:text", "edgescale:{p0}:chain:text:k"]
    assert GROUP == "workers"


@pytest.mark.parametrize(("identity", "partition"), [("r1", 1), ("order-1", 3), ("9f", 0), ("é", 2), ("", 0)])
def test_the_partition_of_an_id_never_changes(identity: str, partition: int) -> None:
    # Literal values: entries written by an older version must still be found.
    assert Keys(4).partition_of(identity) == partition


def test_ids_with_the_same_beginning_are_in_one_partition_and_agents_are_not() -> None:
    keys, names = Keys(16), [f"pier-5:{number}" for number in range(100)]
    assert {keys.partition_of(name) for name in names} == {keys.partition_of("pier-5")}
    assert len({tag(keys.task(name)) for name in names}) == 1
    assert (
        len({keys.partition_of_agent(name) for name in names}) == len({tag(keys.agent(name)) for name in names}) == 16
    )


def test_everything_of_a_partition_is_in_one_slot() -> None:
    keys = Keys(5)
    for number in range(200):
        identity = f"id-{number}"
        partition = keys.partition_of(identity)
        names = [
            keys.task(identity),
            keys.agent(identity),
            keys.stream(partition, "text"),
            keys.dead(partition),
            keys.channel(partition, "box"),
            keys.agents(partition),
        ]
        assert {tag(name) for name in names} == {f"p{partition}"}


def test_braces_in_an_id_do_not_move_its_slot() -> None:
    # Source: Redis cluster specification: the first { and the first } after it count.
    keys = Keys(3)
    assert tag(keys.task("{evil}")) == f"p{keys.partition_of('{evil}')}"


def test_ids_spread_over_all_partitions() -> None:
    keys = Keys(4)
    shares = [0] * 4
    for number in range(4_000):
        shares[keys.partition_of(f"request-{number}")] += 1
    assert min(shares) > 800
