"""`edgescale demo`: real input through all three actions, a worker killed on the way, every claim checked."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TypeVar

from rich.console import Console
from rich.live import Live
from rich.table import Table

from edgescale.chance import SystemChance
from edgescale.client import Client
from edgescale.config import Settings
from edgescale.local.child import bundled_binary, free_port
from edgescale.local.http import Answer, Http
from edgescale.local.progress import sha256_of
from edgescale.local.stack import Stack
from edgescale.telemetry.logs import configure_logs

T = TypeVar("T")
# Short, so that the demonstration is: a killed worker's tasks are taken over within lease + sweep + 1 s.
LEASE_MS = 2_000
SWEEP_MS = 500
BEATS = 20
HEAVY_TEXTS = 6
HEAVY_TEXT_BYTES = 1_000_000
HOLD_TIMEOUT_S = 30.0
SENTENCES = (
    "The harbour master counted the lanterns twice before the storm arrived. "
    "Nobody expected the ferry to be early; everyone was delighted when it was. "
    "Müller wrote: „Wind aus Nordwest, Stärke neun“, and closed the book. "
    "It's a wonderful thing when the light at the end of the pier still burns.\n"
)


@dataclass
class Check:
    """One row of the table: what was claimed, whether it held, and what was seen."""

    claim: str
    held: bool | None = None
    seen: str = ""


class Demo:
    """The steps, each of which settles its checks.

    Args:
        stack: up and serving.
        http: to its gateway.
        client: to its ingestion.
        show: is called whenever a check changed.
    """

    def __init__(self, stack: Stack, http: Http, client: Client, show: Callable[[], None]) -> None:
        self._stack = stack
        self._http = http
        self._client = client
        self._show = show
        self.checks: list[Check] = []

    async def run(self) -> None:
        """All steps, in order; a step that breaks fails its check and lets the others go on."""
        await self._step("heartbeats of 3 agents are in the registry, the missing beat is noticed", self._heartbeats)
        await self._step("a text comes back analysed", self._text)
        await self._step("a file comes back with the SHA-256 it was sent with", self._file)
        await self._step("texts held by a killed worker are answered, each exactly once", self._kill)
        await self._step("the killed worker was started again", self._restarted)
        await self._step("nothing is left in any lane", self._empty)

    async def _step(self, claim: str, step: Callable[[], Awaitable[tuple[bool, str]]]) -> None:
        check = Check(claim)
        self.checks.append(check)
        self._show()
        try:
            check.held, check.seen = await step()
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the claim did not hold
            check.held, check.seen = False, f"{type(error).__name__}: {error}"
        self._show()

    async def _heartbeats(self) -> tuple[bool, str]:
        agents = ("pier-1", "pier-2", "pier-3")
        skipped = BEATS // 2
        beats = [
            {"agent_id": agent, "sequence": number, "boot_id": "demo", "status": "ok", "metrics": {"load": 0.5}}
            for agent in agents
            for number in range(1, BEATS + 1)
            if (agent, number) != (agents[0], skipped)
        ]
        answers = await asyncio.gather(*(self._http.post("/v1/heartbeats", beat) for beat in beats))
        accepted = sum(answer.status == 202 for answer in answers)  # noqa: PLR2004 - Accepted

        async def registered() -> list[dict[str, object]] | None:
            rows: list[dict[str, object]] = (await self._http.get("/v1/agents")).body["agents"]
            counted = sum(int(str(row["beats"])) for row in rows)
            return rows if counted == len(beats) else None

        rows = await _until(registered)
        missed = {str(row["agent_id"]): row["missed_beats"] for row in rows}
        alive = sum(row["state"] == "alive" for row in rows)
        held = accepted == len(beats) and alive == len(agents) and missed == {"pier-1": 1, "pier-2": 0, "pier-3": 0}
        return held, f"{accepted} accepted, {alive} agents alive, missed beats {missed}"

    async def _text(self) -> tuple[bool, str]:
        answer = await self._http.post("/v1/text-analyses", {"text": SENTENCES, "top_terms": 3})
        result = answer.body["result"]
        held = answer.status == 200 and result["language"]["code"] == "en" and result["words"] > 0  # noqa: PLR2004 - OK
        mood = f", polarity {result['sentiment']['polarity']:.2f}" if "sentiment" in result else ""
        return held, f"{result['words']} words, {result['sentences']} sentences, {result['language']['code']}{mood}"

    async def _file(self) -> tuple[bool, str]:
        path = bundled_binary()
        answer = await self._http.post_file("/v1/files", path)
        report = answer.body["result"]
        held = report["sha256"] == sha256_of(path) and report["size_bytes"] == path.stat().st_size
        return held, f"{report['size_bytes']:,} bytes, {report['detected_type']}, {report['sha256'][:12]}…"

    async def _kill(self) -> tuple[bool, str]:
        text = (SENTENCES * (HEAVY_TEXT_BYTES // len(SENTENCES.encode())))[: HEAVY_TEXT_BYTES - 1000]
        # A word of its own makes each text, and so each answer, unlike the others.
        texts = {f"demo-{number}": f"number{number} {text}" for number in range(HEAVY_TEXTS)}
        calls = [
            asyncio.create_task(self._http.post("/v1/text-analyses", {"text": words}, request_id=request_id))
            for request_id, words in texts.items()
        ]
        held_tasks = await self._kill_a_holder()
        answers = await asyncio.gather(*calls)
        again = await asyncio.gather(
            *(
                self._http.post("/v1/text-analyses", {"text": words}, request_id=request_id)
                for request_id, words in texts.items()
            )
        )
        return self._judge(answers, again, held_tasks)

    @staticmethod
    def _judge(answers: list[Answer], again: list[Answer], held_tasks: int) -> tuple[bool, str]:
        succeeded = [answer for answer in answers if answer.status == 200]  # noqa: PLR2004 - OK
        same = sum(first.body == second.body for first, second in zip(answers, again, strict=True))
        redelivered = sum(answer.body["attempts"] > 1 for answer in succeeded)
        held = len(succeeded) == same == len(answers) and redelivered >= 1
        return held, (
            f"killed a worker holding {held_tasks}; {len(succeeded)} of {len(answers)} answered, "
            f"{redelivered} by another worker, {same} identical when asked again"
        )

    async def _kill_a_holder(self) -> int:
        """SIGKILL a worker while it holds a text; returns how many it held."""

        async def holder() -> tuple[int, int] | None:
            lanes = {lane.name: lane for lane in await self._client.lanes()}
            for consumer in lanes["text"].consumers:
                for worker in self._stack.workers:
                    if consumer.running and worker.pid and f"-{worker.pid}-" in consumer.name:
                        return worker.pid, consumer.running
            return None

        pid, held_tasks = await _until(holder)
        os.kill(pid, signal.SIGKILL)
        return held_tasks

    async def _restarted(self) -> tuple[bool, str]:
        async def all_ready() -> bool | None:
            return all(worker.ready.is_set() for worker in self._stack.workers) or None

        await _until(all_ready)
        deaths = sum(worker.deaths for worker in self._stack.workers)
        return deaths == 1, f"{len(self._stack.workers)} workers serve, {deaths} death"

    async def _empty(self) -> tuple[bool, str]:
        async def drained() -> bool | None:
            return all(lane.backlog == 0 for lane in await self._client.lanes()) or None

        await _until(drained)
        return True, "backlog 0 in every lane"


async def _until(probe: Callable[[], Awaitable[T | None]]) -> T:
    """The first answer that is not None."""
    async with asyncio.timeout(HOLD_TIMEOUT_S):
        while (answer := await probe()) is None:  # noqa: ASYNC110 - other processes are asked; they set no event here
            await asyncio.sleep(0.01)
        return answer


def demo_settings(data_dir: Path) -> Settings:
    """Everything on free ports and in one directory, with a short lease."""
    grpc_bind, http_bind = (f"127.0.0.1:{free_port()}" for _ in range(2))
    return Settings(
        grpc_bind=grpc_bind,
        http_bind=http_bind,
        ingestion_target=grpc_bind,
        data_dir=data_dir,
        blob_url="",
        lease_ms=LEASE_MS,
        sweep_ms=SWEEP_MS,
        worker_processes=2,
        log_format="json",
    )


def table_of(checks: list[Check]) -> Table:
    """The claims, and what became of them."""
    table = Table("", "claim", "seen", title="EdgeScale demo", title_justify="left")
    marks = {None: "[yellow]…[/]", True: "[green]ok[/]", False: "[red]FAILED[/]"}
    for check in checks:
        table.add_row(marks[check.held], check.claim, check.seen)
    return table


@contextmanager
def _shown(checks: Callable[[], list[Check]], *, as_json: bool) -> Iterator[Callable[[], None]]:
    if as_json:
        yield lambda: None
        return
    with Live(console=Console(), auto_refresh=False) as live:
        yield lambda: live.update(table_of(checks()), refresh=True)


async def run_demo(*, as_json: bool) -> bool:
    """Run the demonstration; True when every check held.

    Raises:
        ConfigError: the stack did not start.
    """
    with tempfile.TemporaryDirectory(prefix="edgescale-demo-") as folder:
        log_path = Path(folder) / "services.log"
        with log_path.open("wb") as log:
            configure_logs(service="demo", log_format="json", level="info", stream=os.fdopen(os.dup(log.fileno()), "w"))
            held, checks = await _run(Path(folder), log, as_json=as_json)
        if not held:
            sys.stderr.write(log_path.read_text(errors="replace")[-20_000:])
    if as_json:
        print(json.dumps({"held": held, "checks": [asdict(check) for check in checks]}, indent=2))  # noqa: T201
    return held


async def _run(folder: Path, log: IO[bytes], *, as_json: bool) -> tuple[bool, list[Check]]:
    chance = SystemChance()
    checks: list[Check] = []
    with _shown(lambda: checks, as_json=as_json) as show:
        async with (
            Stack(demo_settings(folder), chance, embedded=True, log_to=log) as stack,
            Client(stack.ingestion.address) as client,
        ):
            demo = Demo(stack, Http(stack.gateway.address), client, show)
            demo.checks = checks
            await demo.run()
    return all(check.held for check in checks), checks
