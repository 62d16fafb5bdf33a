"""Mutants of workers: bugs in taking, keeping, ending and handing back."""

from edgescale.harness.mutants.base import PRELUDE, Edit, Mutant
from edgescale.harness.mutants.scripts import NO_ADOPTION

BROKER = "edgescale.broker.broker.Broker"
EXECUTOR = "edgescale.worker.executor.Executor"
WORKER = "edgescale.worker.worker.Worker"

WORKER_MUTANTS = (
    # Taking.
    # Seen when a worker dies with a task in its hands: nobody else will ever get it.
    Mutant(
        "acknowledged_first",
        "P1",
        "An entry is acknowledged and removed when it is read, before it is worked on.",
        (
            Edit(
                f"{BROKER}.read",
                "        entries = streams[0][1] if streams else []\n",
                "        entries = streams[0][1] if streams else []\n"
                "        for entry_id, _ in entries:\n"
                "            await reader.command('XACK', stream, GROUP, entry_id)\n"
                "            await reader.command('XDEL', stream, entry_id)\n",
            ),
            # What is acknowledged belongs to nobody, and is settled all the same.
            Edit(PRELUDE, "return not pending.err and #pending == 1 and (not attempt or", "return true or (true or"),
        ),
    ),
    # Seen when a worker dies, and when a failed task waits for its next try.
    Mutant(
        "no_reclaim",
        "P4",
        "Nobody looks for the entries of workers that fell silent.",
        (Edit(f"{WORKER}._take_work", "duties.create_task(self._reclaim(partition, lane, places, turnover))", "pass"),),
    ),
    # Seen after an outage: each failed read costs the lane slots, until none is left.
    Mutant(
        "slots_leak",
        "P8",
        "A read that fails keeps the slots that it took.",
        (
            Edit(
                "edgescale.worker.fetcher.Fetcher._fetch",
                "        finally:\n            self._places.release(taken - started)\n",
                "        except Exception:\n            raise\n        self._places.release(taken - started)\n",
            ),
        ),
    ),
    # Seen after an outage.
    Mutant(
        "fetcher_gives_up",
        "P8",
        "A worker whose read has failed reads no more.",
        (
            Edit(
                f"{WORKER}._fetch",
                'await keep_running(f"fetcher:{lane}", fetcher.step, self._chance, stop=self._stop)',
                "try:\n"
                "                while not self._stop.is_set():\n"
                "                    await fetcher.step()\n"
                "            except EdgeScaleError:\n"
                "                await self._stop.wait()",
            ),
        ),
    ),
    # Seen after a flush, or when the groups alone are gone.
    Mutant(
        "group_not_made_again",
        "P8",
        "A consumer group is made when a worker starts, and never again.",
        (
            Edit(
                f"{BROKER}.read",
                "            await self.ensure_group(partition, lane)\n",
                "            if stream in self.__dict__.setdefault('_begun', set()):\n"
                "                raise\n"
                "            self._begun.add(stream)\n"
                "            await self.ensure_group(partition, lane)\n",
            ),
            Edit(f"{BROKER}.reclaim", "            await self.ensure_group(partition, lane)\n", "            raise\n"),
        ),
    ),
    # Seen when the group is gone while entries are queued or running. What was skipped looks like what a deleted
    # consumer held, so that reclaim would find it.
    Mutant(
        "group_made_at_the_end",
        "P1",
        "A consumer group begins at the stream's end, and nobody is given what was there before.",
        (Edit("edgescale.broker.exchanges.create_group", '"0"', '"$"'), NO_ADOPTION),
    ),
    # Keeping.
    # Seen with a task that takes longer than a lease.
    Mutant(
        "no_renewal",
        "P4",
        "The leases of running tasks are not renewed.",
        (Edit("edgescale.worker.renewer.Renewer.step", "if not delivery.lost)", "if delivery.settling)"),),
    ),
    # Seen with tasks that are not due.
    Mutant(
        "started_before_due",
        "P1",
        "A task is started whenever a worker is given it, due or not.",
        (Edit(f"{EXECUTOR}._untimely", "if now_ms < envelope.not_before_ms:", "if False:"),),
    ),
    # Seen with tasks that nobody took before their deadlines.
    Mutant(
        "started_after_deadline",
        "P1",
        "A task is started however late.",
        (Edit(f"{EXECUTOR}._untimely", "if 0 < envelope.expires_ms <= now_ms:", "if False:"),),
    ),
    # Ending.
    # Seen with a task that fails at every try.
    Mutant(
        "buried_early",
        "P5",
        "A task is buried one try too early.",
        (
            Edit(
                f"{EXECUTOR}._ending",
                "entry.deliveries < terms.attempts_max:",
                "entry.deliveries < terms.attempts_max - 1:",
            ),
        ),
    ),
    # Seen with a task that fails at every try.
    Mutant(
        "tried_for_ever",
        "P5",
        "A task that fails is tried again without end.",
        (
            Edit(f"{EXECUTOR}._run", "if entry.deliveries > terms.attempts_max:", "if False:"),
            Edit(f"{EXECUTOR}._ending", " and entry.deliveries < terms.attempts_max:", ":"),
        ),
    ),
    # Seen with a task that uses up its tries.
    Mutant(
        "acknowledged_before_buried",
        "P1",
        "The entry of a task to be buried is removed first, and then there is nothing to bury.",
        (
            Edit(
                f"{BROKER}.settle",
                "        # Without end:",
                "        if settlement.state == 'dead_lettered':\n"
                "            stream = self._keys.stream(settlement.entry.partition, settlement.entry.lane)\n"
                "            await self._connection.command('XACK', stream, GROUP, settlement.entry.entry_id)\n"
                "            await self._connection.command('XDEL', stream, settlement.entry.entry_id)\n"
                "        # Without end:",
            ),
        ),
    ),
    # Seen with an entry that does not decode.
    Mutant(
        "undecodable_ignored",
        "P1",
        "An entry that does not decode is passed over, and comes back for ever.",
        (
            Edit(
                f"{EXECUTOR}.execute", "await self._finish(delivery, self._undecodable(entry, error))\n", "del error\n"
            ),
        ),
    ),
    # Handing back.
    # Seen when a worker is stopped in the midst of a long task.
    Mutant(
        "drain_drops",
        "P6",
        "A stopping worker drops what it could not finish, without handing it back.",
        (Edit(f"{WORKER}._drain", "returns.create_task(self._give_back(delivery))", "del delivery"),),
    ),
    # Seen as above: what was pending belongs to nobody then, and is never delivered again.
    Mutant(
        "consumer_deleted_with_pending",
        "P1",
        "A stopping worker deletes its consumer and what it claims, and nobody looks for what is nobody's.",
        (
            Edit(
                f"{WORKER}._give_back",
                "given = await self._broker.give_back(self.consumer, handed)",
                "lane = self._broker._keys.stream(entry.partition, entry.lane)\n"
                "            given = await self._connection.command("
                "'XGROUP', 'DELCONSUMER', lane, 'workers', self.consumer)",
            ),
            NO_ADOPTION,
        ),
    ),
    # Seen as above: the entry waits for a whole lease.
    Mutant(
        "handed_back_with_lease",
        "P6",
        "What a stopping worker hands back can be taken only when its lease has run out.",
        (Edit(f"{WORKER}._give_back", "delay_ms=0", "delay_ms=self._settings.lease_ms"),),
    ),
    # Seen as above.
    Mutant(
        "drain_counts_as_try",
        "P6",
        "A task that a stopping worker hands back has lost a try.",
        (Edit(f"{WORKER}._give_back", "deliveries=entry.deliveries - 1", "deliveries=entry.deliveries"),),
    ),
    # Seen when a worker is stopped in the midst of a task that hangs. A handler's own time is short in the simulation.
    Mutant(
        "drain_without_end",
        "P6",
        "A stopping worker waits for its tasks, however long they take, and they may take long.",
        (
            Edit(f"{WORKER}._work", "self._settings.drain_grace_ms / 1000", "1e6"),
            Edit(
                f"{EXECUTOR}._handle",
                "asyncio.timeout(terms.timeout_ms / 1000)",
                "asyncio.timeout(terms.timeout_ms / 250)",
            ),
        ),
    ),
    # Seen when a stopping worker's last read, which waited at the server, brings something.
    Mutant(
        "last_read_forgotten",
        "P6",
        "A stopping worker forgets what its last read has brought.",
        (
            Edit(
                f"{WORKER}._work",
                "        # What such a read has brought after all.\n        await self._drain(over_s - loop.time())\n",
                "",
            ),
        ),
    ),
    # Seen whenever a worker is asked to stop.
    Mutant(
        "deaf_to_stop",
        "P6",
        "A worker that is asked to stop goes on fetching for ten seconds.",
        (
            Edit(
                f"{WORKER}.stop",
                "            self._stop.set()\n"
                "            for places in self._lanes.values():\n"
                "                places.close()\n",
                "            later = asyncio.get_running_loop().call_later\n"
                "            later(10, self._stop.set)\n"
                "            for places in self._lanes.values():\n"
                "                later(10, places.close)\n",
            ),
        ),
    ),
)
