"""One process of a run on real parts: `python -m edgescale.harness.chaos.node '<orders as JSON>'`.

It is the service that `edgescale gateway`, `ingestion` or `worker` runs, with settings from the environment as usual;
it writes down what it sees, and may run mutated code.
"""

import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import structlog

from edgescale.compose import run_gateway, run_ingestion, run_service, run_worker
from edgescale.config import load_settings
from edgescale.harness.chaos.craft import life_told, recording_craft
from edgescale.harness.mutants import find
from edgescale.harness.recording.file import FileRecorder
from edgescale.local.child import end_with_parent
from edgescale.telemetry.logs import configure_logs

CRAFTED = {"ingestion": run_ingestion, "worker": run_worker}


@dataclass(frozen=True, slots=True)
class Orders:
    """What a process is to be.

    Attributes:
        name: such as `worker-1`.
        incarnation: 1 for its first life.
        number: of the process within the run, unlike any other's.
        events: the file of what it sees.
        began_ns: when the run began, by the clock that all processes share.
        mutant: under which it runs; "" for none.
    """

    name: str
    incarnation: int
    number: int
    events: str
    began_ns: int
    mutant: str = ""

    @property
    def actor(self) -> str:
        """As histories name it."""
        return f"{self.name}#{self.incarnation}"

    def text(self) -> str:
        """As the process is given it."""
        return json.dumps(asdict(self))


def main(orders: Orders) -> None:
    """Be that process.

    Raises:
        ConfigError: it cannot work with its settings, or there is no such mutant.
    """
    # The pipe tells it, too, but not while it stands still.
    end_with_parent(signal.SIGKILL)
    settings = load_settings(os.environ)
    kind = orders.name.partition("-")[0]

    def now_ns() -> int:
        return time.monotonic_ns() - orders.began_ns

    recorder = FileRecorder(Path(orders.events), now_ns, number=orders.number)
    slots = ",".join(f"{lane}={count}" for lane, count in settings.worker_lanes.items()) if kind == "worker" else ""
    configure_logs(service=orders.actor, log_format="json", level="info")
    told = life_told(recorder, orders.actor, slots)
    structlog.configure(processors=[told, *structlog.get_config()["processors"]])
    craft = recording_craft(recorder, orders.actor, now_ns)
    # What goes through a gateway is seen at both of its ends.
    service = run_gateway if kind == "gateway" else partial(CRAFTED[kind], craft=craft)
    with find(orders.mutant).applied() if orders.mutant else nullcontext():
        run_service(service, settings, name=orders.name, until_stdin_closes=True)


if __name__ == "__main__":
    main(Orders(**json.loads(sys.argv[1])))
