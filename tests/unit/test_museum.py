"""The museum of other people's bugs is complete, and whoever it calls as a witness exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edgescale.harness.markers import MARKERS
from edgescale.harness.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "museum.md").read_text()
# The threads that were studied, by the pain that they tell of.
THREADS = {
    1: """
        celery/celery#8030 celery/celery#8091 celery/celery#8384 celery/celery#10205 python-arq/arq#435
        python-arq/arq#498 taskforcesh/bullmq#648 taskforcesh/bullmq#2964 taskforcesh/bullmq#2466
        taskforcesh/bullmq#3185 Bogdanp/dramatiq#207 ag2ai/faststream#2611 ag2ai/faststream#3106
        chrisguidry/docket#425 redis/redis-py#2807
    """,
    2: """
        rq/rq#2015 rq/rq#1716 rq/rq#2061 python-arq/arq#343 python-arq/arq#402 hibiken/asynq#1144 hibiken/asynq#334
        sidekiq/sidekiq#4633 taskiq-python/taskiq-redis#130 openlinker-project/openlinker#2164 ag2ai/faststream#2197
        taskiq-python/taskiq-redis#131 ThreeDotsLabs/watermill-redisstream#24 redis/redis#9745 chrisguidry/docket#467
        chrisguidry/docket#463 ag2ai/faststream#2694
    """,
    3: """
        celery/celery#2599 celery/celery#3270 celery/celery#5935 taskiq-python/taskiq-redis#101
        taskiq-python/taskiq-redis#86 chrisguidry/docket#245 chrisguidry/docket#250 taskforcesh/bullmq#439
        tobymao/saq#209 hatchet-dev/hatchet#322 Bogdanp/dramatiq#692 aio-libs/aiokafka#848 rq/rq#2424 rq/rq#1507
    """,
    4: """
        celery/celery#4857 celery/celery#8588 celery/celery#3761 celery/celery#4039 celery/celery#10671
        taskforcesh/bullmq#383 taskforcesh/bullmq#1270 taskforcesh/bullmq#2341 redis/redis-py#2089 redis/redis-py#2624
        redis/redis-py#2665
    """,
    5: """
        taskiq-python/taskiq-redis#114 safe-global/safe-decoder-service#329 ag2ai/faststream#2232 redis/redis#6941
        redis/redis#14656 celery/celery#3436 redis/redis#11567 PrefectHQ/prefect#22136 sidekiq/sidekiq#2883
        taskforcesh/bullmq#1046
    """,
    6: """
        Bogdanp/dramatiq#213 sidekiq/sidekiq#3400 sidekiq/sidekiq#5300 celery/celery#8610
        taskiq-python/taskiq-aio-pika#35 pipeshub-ai/pipeshub-ai#2992
    """,
    7: """
        celery/celery#2874 celery/celery#2468 wikimedia/ores#80 docling-project/docling-serve#581 hardbyte/awa#341
        celery/celery#7911 taskforcesh/bullmq#2397 Bogdanp/dramatiq_sqs#51 grpc/grpc#11966
    """,
}
LINK = re.compile(r"\[([\w-]+#\d+)\]\(https://github\.com/([\w-]+/[\w-]+)/issues/(\d+)\)")
WITNESS = re.compile(r"`(?:(tests/[\w/]+\.py::test_\w+)|mutant (\w+)|marker (\w+))`")


class Row(NamedTuple):
    """A line of a table, taken apart.

    Attributes:
        pain: number of its section.
        thread: owner, project and number; empty where its first cell is no link, or one to another thread.
        why: why it does not happen here, or that it still may.
        witnesses: a test, `mutant` or `marker` and its name; what is none of these stands there as it is.
    """

    pain: int
    thread: str
    why: str
    witnesses: tuple[str, ...]


def rows(page: str) -> Iterator[Row]:
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        for line in re.findall(r"^\| (\[.*) \|$", section, flags=re.MULTILINE):
            thread, _, why, shown_by = line.split(" | ")
            link = LINK.fullmatch(thread)
            project = f"{link[2]}#{link[3]}" if link else ""
            named = project if link and project.endswith(f"/{link[1]}") else ""
            yield Row(int(section.split(".")[0]), named, why, tuple(shown_by.split("<br>")))


def names_in(module: Path) -> set[str]:
    defined = ast.walk(ast.parse(module.read_text())) if module.exists() else ()
    functions = (node.name for node in defined if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {name for name in functions if name.startswith("test_")}


def exists(witness: str) -> bool:
    found = WITNESS.fullmatch(witness)
    if found is None:
        return False
    test, mutant, marker = found.groups()
    if test:
        module, _, name = test.partition("::")
        return name in names_in(ROOT / module)
    return mutant in {each.name for each in MUTANTS} or marker in {each.name for each in MARKERS}


def unwitnessed(page: str) -> list[tuple[str, str]]:
    """Threads with a witness that does not exist, or with none."""
    return [(row.thread, witness) for row in rows(page) for witness in row.witnesses if not exists(witness)]


@pytest.mark.parametrize("pain", THREADS)
def test_every_thread_has_one_row_in_the_section_of_its_pain(pain: int) -> None:
    assert [row.thread for row in rows(PAGE) if row.pain == pain] == THREADS[pain].split()


def test_every_witness_exists() -> None:
    assert unwitnessed(PAGE) == []


@pytest.mark.parametrize(
    ("witness", "spoilt"),
    [
        (
            "test_reads.py::test_a_blocked_read_may_wait_longer",
            "test_reads.py::test_a_blocked_read_may_wait_for_longer",
        ),
        ("mutant fetcher_gives_up", "mutant fetcher_gives_in"),
        ("marker zombie_fenced", "marker zombie_freed"),
        ("tests/integration/test_museum_reads.py::", "tests/integration/test_museum_writes.py::"),
        ("`mutant no_renewal`", ""),
    ],
)
def test_a_witness_that_does_not_exist_is_found(witness: str, spoilt: str) -> None:
    assert witness in PAGE
    assert len(unwitnessed(PAGE.replace(witness, spoilt))) == PAGE.count(witness)


def test_what_is_not_yet_is_told_again_at_the_end() -> None:
    short = PAGE.partition("## Not yet, in short\n")[2]
    for row in rows(PAGE):
        assert ("not yet" in row.why) == (row.thread.partition("/")[2] in re.findall(r"[\w-]+#\d+", short)), row.thread


def test_every_test_of_the_museum_is_on_the_page() -> None:
    own = {module.name: names_in(module) for module in (ROOT / "tests" / "integration").glob("test_museum_*.py")}
    shown = {f"{module}::{name}" for module, names in own.items() for name in names}

    assert shown
    assert {each for each in shown if f"tests/integration/{each}`" not in PAGE} == set()
