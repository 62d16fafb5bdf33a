"""How much memory a large upload takes in gateway and ingestion: P7 promises a constant, whatever the file's size.

A warm-up upload comes first, so that pools and lazily made buffers are not counted; then a file of --size-mib is
streamed through the gateway while the resident memory of both processes is sampled. Exit status 1 when either of them
grew by --limit-mib or more.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from edgescale.chance import SystemChance
from edgescale.config import CHUNK_BYTES_MAX
from edgescale.local.demo import demo_settings
from edgescale.local.stack import Stack
from edgescale.telemetry.logs import configure_logs

MIB = 1024 * 1024
WARM_UP_MIB = 16
SAMPLE_S = 0.02


@dataclass(frozen=True)
class Growth:
    """Resident memory of one process: before, and at most during the upload, in MiB."""

    process: str
    before_mib: float
    peak_mib: float

    @property
    def grown_mib(self) -> float:
        """What the upload added at most."""
        return self.peak_mib - self.before_mib


class Sampler:
    """Peak resident memory of some processes while it runs."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self.before = self._sample()
        self.peak = dict(self.before)

    def _sample(self) -> dict[str, float]:
        return {name: process.memory_info().rss / MIB for name, process in self._processes.items()}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            for name, rss in self._sample().items():
                self.peak[name] = max(self.peak[name], rss)
            await asyncio.sleep(SAMPLE_S)

    def growth(self) -> list[Growth]:
        """One row a process."""
        return [Growth(name, self.before[name], self.peak[name]) for name in self._processes]


def send(address: str, size_bytes: int) -> tuple[float, bool]:
    """Stream so many bytes through the gateway; seconds taken, and whether the report's hash was right."""
    block = bytes(range(256)) * (CHUNK_BYTES_MAX // 256)
    sent = hashlib.sha256()

    def body() -> Iterator[bytes]:
        for _ in range(size_bytes // len(block)):
            sent.update(block)
            yield block

    connection = http.client.HTTPConnection(address, timeout=600)
    headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"}
    began = time.perf_counter()
    connection.request("POST", "/v1/files?name=large.bin", body=body(), headers=headers)
    report = json.loads(connection.getresponse().read())
    took_s = time.perf_counter() - began
    connection.close()
    return took_s, report.get("result", {}).get("sha256") == sent.hexdigest()


async def measure(size_bytes: int) -> tuple[list[Growth], float, bool]:
    """Bring a stack up, warm it up, upload, and sample."""
    configure_logs(service="bench", log_format="console", level="error")
    with tempfile.TemporaryDirectory() as folder, Path(folder, "services.log").open("wb") as log:
        async with Stack(demo_settings(Path(folder)), SystemChance(), embedded=True, log_to=log) as stack:
            address = stack.gateway.address
            await asyncio.to_thread(send, address, WARM_UP_MIB * MIB)
            services = {"gateway": stack.gateway, "ingestion": stack.ingestion}
            sampler = Sampler({name: psutil.Process(child.pid) for name, child in services.items()})
            sampling = asyncio.create_task(sampler.run())
            took_s, right = await asyncio.to_thread(send, address, size_bytes)
            sampling.cancel()
            return sampler.growth(), took_s, right


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--limit-mib", type=float, default=64.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    size_bytes = options.size_mib * MIB
    growth, took_s, right = asyncio.run(measure(size_bytes))
    held = right and all(row.grown_mib < options.limit_mib for row in growth)
    if options.json:
        rows = [asdict(row) | {"grown_mib": row.grown_mib} for row in growth]
        print(json.dumps({"size_mib": options.size_mib, "seconds": took_s, "held": held, "growth": rows}))
    else:
        print(f"{options.size_mib} MiB in {took_s:.1f} s ({options.size_mib / took_s:.0f} MiB/s), hash right: {right}")
        for row in growth:
            print(
                f"  {row.process:<10} {row.before_mib:6.1f} MiB before, {row.peak_mib:6.1f} MiB at most, "
                f"grown by {row.grown_mib:5.1f} MiB (limit {options.limit_mib:.0f})"
            )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
