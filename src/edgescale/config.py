"""Settings: read from `EDGESCALE_*` and from flags, checked as a whole before anything starts."""

import difflib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from edgescale.errors import ConfigError
from edgescale.lane_pairs import Pairs, Positive, unfit_weights, weights_of

ENV_PREFIX = "EDGESCALE_"
CHUNK_BYTES_MAX = 64 * 1024
UPLOAD_BYTES_CEILING = 10_000 * 5 * 1024**2


class Settings(BaseSettings):
    """All settings of all services. Times are in milliseconds, sizes in bytes; see docs/configuration.md."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis 7.0 or later, or Valkey 8 or later.")
    redis_timeout_ms: Positive = Field(2_000, description="How long one command may take, connecting included.")
    redis_block_ms: Positive = Field(1_000, description="How long a worker's read waits at the server for entries.")
    redis_patience_ms: Positive = Field(3_000, description="How long a request is retried while Redis is away.")
    allow_eviction: bool = Field(False, description="Start although Redis may evict keys and lose tasks.")
    durability: Literal["standard", "strict", "none"] = Field(
        "standard", description="What must survive Redis; see durability.md."
    )
    replicas_min: Positive = Field(1, description="Replicas that must have what strict tells of.")
    allow_unverified_durability: bool = Field(
        False, description="Start strict although the server hides its appendfsync."
    )
    partitions: Positive = Field(1, description="Hash-tag partitions; must never change while tasks are open.")

    lane_cap: Positive = Field(10_000, description="Tasks queued and running at which a lane refuses new ones.")
    lane_caps: Pairs = Field(default_factory=dict, description="Caps of single lanes, as text=500,file=50.")
    result_ttl_ms: Positive = Field(86_400_000, description="How long a settled task can be asked for.")
    wait_default_ms: Positive = Field(30_000, description="How long an answer is waited for when nobody says.")
    wait_max_ms: Positive = Field(120_000, description="The longest wait that a caller may ask for.")
    inbox_recheck_ms: Positive = Field(2_000, description="How often open requests re-read their stored results.")

    lease_ms: Positive = Field(30_000, description="A worker that is silent for so long loses its tasks to others.")
    sweep_ms: Positive = Field(1_000, description="How often a worker looks for lost tasks.")
    consumer_retention_ms: Positive = Field(
        3_600_000, description="Silence after which a worker that owns nothing is forgotten."
    )
    attempts_max: Positive = Field(5, description="Deliveries after which a task is dead-lettered.")
    dead_letter_retention_ms: int = Field(
        2_592_000_000, ge=0, description="How long a dead letter is kept; 0 for without end."
    )
    replays_per_second: Positive = Field(
        50, description="Dead letters that one process puts back in a second, at most."
    )
    worker_lanes: Pairs = Field(
        default_factory=lambda: {"heartbeat": 256, "text": 32, "file": 8},
        description="Lanes that a worker serves, each with its number of tasks at once.",
    )
    worker_slots_max: int = Field(
        0, ge=0, description="Tasks that a worker runs at once over all lanes; 0 for as many as its lanes together."
    )
    lane_weights: Pairs = Field(
        default_factory=dict,
        description="Shares of the lanes that compete for these, as heartbeat=8,text=4; 1 for who is left out.",
    )
    worker_processes: Positive = Field(2, description="Worker processes that `up` starts.")
    pool_processes: Positive = Field(1, description="Processes of each worker for work that would block its loop.")
    pool_above_bytes: Positive = Field(16_384, description="Texts larger than this are analysed there.")
    handler_timeout_ms: Positive = Field(300_000, description="How long a handler may take for one delivery.")
    drain_grace_ms: Positive = Field(20_000, description="How long running work may take to end at SIGTERM.")

    grpc_bind: str = Field("127.0.0.1:50051", description="Where ingestion listens.")
    http_bind: str = Field("127.0.0.1:8080", description="Where the gateway listens.")
    worker_health_bind: str = Field("", description="Where a worker answers probes over HTTP; empty for nowhere.")
    ingestion_target: str = Field("127.0.0.1:50051", description="Where the gateway and `send` find ingestion.")
    allow_insecure_bind: bool = Field(False, description="Listen off loopback without authentication and TLS.")

    text_bytes_max: Positive = Field(1_048_576, description="The longest text, in UTF-8.")
    upload_bytes_max: Positive = Field(5 * 1024**3, description="The largest file.")
    requests_in_flight_max: Positive = Field(2_000, description="Requests that one ingestion process serves at once.")
    uploads_in_flight_max: Positive = Field(64, description="Uploads that one ingestion process takes at once.")

    agent_stale_after_ms: Positive = Field(30_000, description="Silence after which an agent is stale.")
    agent_gone_after_ms: Positive = Field(300_000, description="Silence after which an agent is gone.")
    agent_retention_ms: Positive = Field(604_800_000, description="Silence after which an agent is forgotten.")

    data_dir: Path = Field(Path(".edgescale"), description="Where `up` keeps Redis data and blobs.")
    blob_url: str = Field("", description="file://, s3://, gs:// or az://; data_dir/blobs when empty.")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level written.")

    def cap_of(self, lane: str) -> int:
        """The lane's cap over all partitions."""
        return self.lane_caps.get(lane, self.lane_cap)

    @property
    def slots_max(self) -> int:
        """Tasks that a worker runs at once."""
        return self.worker_slots_max or sum(self.worker_lanes.values())

    @property
    def weights(self) -> Mapping[str, int]:
        """The weight of each lane that a worker serves."""
        return weights_of(self.worker_lanes, self.lane_weights)

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        for wrong, sentence in self._impossible():
            if wrong:
                raise ValueError(sentence)
        return self

    def _impossible(self) -> list[tuple[bool, str]]:
        return [
            *self._out_of_order(),
            (
                self.wait_default_ms > self.wait_max_ms,
                f"wait_default_ms ({self.wait_default_ms}) must not be above wait_max_ms ({self.wait_max_ms})",
            ),
            (
                self.result_ttl_ms <= self.wait_max_ms,
                (
                    f"result_ttl_ms ({self.result_ttl_ms}) must be above wait_max_ms ({self.wait_max_ms}), "
                    "or results expire while somebody waits for them"
                ),
            ),
            (
                self.agent_stale_after_ms >= self.agent_gone_after_ms,
                (
                    f"agent_stale_after_ms ({self.agent_stale_after_ms}) must be below agent_gone_after_ms "
                    f"({self.agent_gone_after_ms})"
                ),
            ),
            (
                self.agent_gone_after_ms > self.agent_retention_ms,
                (
                    f"agent_gone_after_ms ({self.agent_gone_after_ms}) must not be above agent_retention_ms "
                    f"({self.agent_retention_ms})"
                ),
            ),
            (
                self.upload_bytes_max > UPLOAD_BYTES_CEILING,
                (
                    f"upload_bytes_max ({self.upload_bytes_max}) must be at most {UPLOAD_BYTES_CEILING}: "
                    "a file is stored in at most 10,000 parts of 5 MiB"
                ),
            ),
            (
                not self.worker_lanes,
                "worker_lanes must name at least one lane, such as text=8",
            ),
            (
                any(self.cap_of(lane) < self.partitions for lane in (*self.worker_lanes, *self.lane_caps)),
                f"every lane's cap must be at least partitions ({self.partitions}): each partition gets its share",
            ),
            *unfit_weights(self.worker_lanes, self.lane_weights),
            *self._insecure("grpc_bind", self.grpc_bind),
            *self._insecure("http_bind", self.http_bind),
            *(self._insecure("worker_health_bind", self.worker_health_bind) if self.worker_health_bind else []),
        ]

    def _out_of_order(self) -> list[tuple[bool, str]]:
        """Times of workers that must follow each other."""
        return [
            (
                self.sweep_ms >= self.lease_ms,
                f"sweep_ms ({self.sweep_ms}) must be below lease_ms ({self.lease_ms})",
            ),
            (
                self.consumer_retention_ms <= max(self.lease_ms, self.redis_block_ms),
                f"consumer_retention_ms ({self.consumer_retention_ms}) must be above lease_ms and redis_block_ms",
            ),
        ]

    def _insecure(self, name: str, address: str) -> list[tuple[bool, str]]:
        host, port = split_address(name, address)
        del port
        return [
            (
                not self.allow_insecure_bind and not is_loopback(host),
                (
                    f"{name} {address} is not a loopback address, and callers are not authenticated there; "
                    "bind to 127.0.0.1, or set allow_insecure_bind to true where the network itself is trusted"
                ),
            ),
        ]


def split_address(name: str, address: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 host stands in brackets.

    Raises:
        ValueError: there is no port, or it is no number from 0 to 65535.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the highest port
        raise ValueError(f"{name} must be host:port, such as 127.0.0.1:8080, not {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(environ: Mapping[str, str], **flags: Any) -> Settings:
    """Settings from the process environment, with flags (those that are not None) going first.

    Args:
        environ: checked for unknown `EDGESCALE_*` names; must be the process's own environment.
        flags: values by field name.

    Raises:
        ConfigError: an unknown name, a value of the wrong type, or a combination that cannot work.
    """
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(environ):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/configuration.md lists the known ones"
            raise ConfigError(f"unknown setting {name}: {hint}")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in problem["loc"])
        name = f"{ENV_PREFIX}{where.upper()}" if where else "settings"
        problems.append(f"{name}: {message}")
    return "; ".join(problems)
