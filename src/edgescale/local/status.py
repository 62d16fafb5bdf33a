"""`edgescale status`: lanes and agents, at a glance."""

import json
from collections import Counter
from typing import Any

from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.table import Table

from edgescale.client import Client
from edgescale.v1 import heartbeat_pb2, ingestion_service_pb2


async def show_status(client: Client, *, as_json: bool) -> None:
    """Print the state of all lanes and agents.

    Raises:
        EdgeScaleError: ingestion or Redis cannot be reached.
    """
    lanes = await client.lanes()
    agents = await client.agents()
    if as_json:
        print(json.dumps({"lanes": [_plain(lane) for lane in lanes], "agents": [_plain(agent) for agent in agents]}))  # noqa: T201
        return
    console = Console()
    console.print(lane_table(lanes))
    console.print(agent_line(agents))


def _plain(message: ingestion_service_pb2.Lane | heartbeat_pb2.Agent) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def lane_table(lanes: list[ingestion_service_pb2.Lane]) -> Table:
    """One row a lane."""
    table = Table("lane", box=None)
    for name in ("backlog", "running", "cap", "oldest", "consumers"):
        table.add_column(name, justify="right")
    for lane in lanes:
        oldest = f"{lane.oldest_age.ToMilliseconds() / 1000:.1f} s" if lane.HasField("oldest_age") else "-"
        figures = (lane.backlog, lane.running, lane.cap)
        table.add_row(lane.name, *(f"{figure:,}" for figure in figures), oldest, str(len(lane.consumers)))
    return table


def agent_line(agents: list[heartbeat_pb2.Agent]) -> str:
    """How many agents are in which state."""
    states = Counter(
        heartbeat_pb2.AgentState.Name(agent.state).removeprefix("AGENT_STATE_").lower() for agent in agents
    )
    counts = ", ".join(f"{states[state]} {state}" for state in ("alive", "stale", "gone") if states[state])
    return f"agents: {counts or 'none seen yet'}"
