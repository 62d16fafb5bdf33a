"""Mutants of ingestion: bugs in accepting, waiting and storing files."""

from edgescale.harness.mutants.base import Edit, Mutant
from edgescale.harness.mutants.scripts import NO_SLOW_TIMER

BROKER = "edgescale.broker.broker.Broker"
INBOX = "edgescale.broker.inbox.Inbox"
INTAKE = "edgescale.ingestion.intake.Intake"
REREAD = "        self._mark_stale([each for each in self._open if self._keys.partition_of(each) == partition])\n"
NO_REREAD_WHEN_SUBSCRIBED = Edit(f"{INBOX}._live", REREAD, "")

DOOR_MUTANTS = (
    # Accepting.
    # Seen when the lane is full, or Redis is away, and the caller does not wait for more than the acceptance.
    Mutant(
        "accepted_before_queued",
        "P1",
        "A caller is told that its task is accepted before Redis has answered.",
        (
            Edit(
                f"{INTAKE}._submit",
                "            receipt = await within(patience_ms / 1000, call)\n",
                "            asyncio.gather(call, return_exceptions=True)\n"
                "            receipt = Receipt(accepted=True, record=submission.record('0-0'))\n",
            ),
        ),
    ),
    # Seen when the reply to a submission is lost, or comes too late.
    Mutant(
        "timeout_told_as_refusal",
        "P1",
        "A caller is told that nothing was queued when nobody knows whether it was.",
        (
            Edit(
                f"{INTAKE}._submit",
                "        except (Conflict, Overloaded) as error:\n",
                "        except BaseException as error:\n"
                "            if error.args == ('Redis is away',) or error.args == ('Redis did not answer in time',):\n"
                "                raise Overloaded('nothing was queued') from error\n"
                "            if not isinstance(error, Conflict | Overloaded):\n"
                "                raise\n",
            ),
        ),
    ),
    # Seen in bursts, most of all with two ingestion processes.
    Mutant(
        "cap_checked_beforehand",
        "P3",
        "The backlog is asked for in one round trip, and the entry added in another one.",
        (
            Edit(
                f"{BROKER}.submit",
                "        item = (submission, inbox, submission.envelope.encode())\n",
                "        await self.room(submission.lane, submission.envelope.request_id)\n"
                "        item = (submission, inbox, submission.envelope.encode())\n",
            ),
            Edit(
                f"{BROKER}._flush_submits",
                "envelope.file_id, envelope.ordering_key, cap, inbox, encoded",
                "envelope.file_id, envelope.ordering_key, 10**9, inbox, encoded",
            ),
        ),
    ),
    # Waiting.
    # Seen when the subscription breaks and a result is stored before it is back.
    Mutant(
        "messages_alone",
        "P2",
        "A waiter trusts in the message: stored results are read neither after a reconnection nor by the slow timer.",
        (NO_REREAD_WHEN_SUBSCRIBED, NO_SLOW_TIMER),
    ),
    # Seen as above, and when a result is stored in the first moments of a process.
    Mutant(
        "serves_before_subscribed",
        "P2",
        "Calls are taken before the inbox is subscribed, and what was published until then is not looked for.",
        (
            Edit(
                f"{INBOX}._listen",
                '        outage = Outage(f"inbox:{partition}", self._chance)\n',
                '        outage = Outage(f"inbox:{partition}", self._chance)\n        self.ready.set()\n',
            ),
            NO_REREAD_WHEN_SUBSCRIBED,
            NO_SLOW_TIMER,
        ),
    ),
    # Seen when the message overtakes the reply to the submission: then nobody knows the id yet.
    Mutant(
        "waits_after_submitting",
        "P2",
        "A request id is waited for once its task was accepted, and a message that comes before that is passed over.",
        (
            Edit(f"{INTAKE}.analyze", ", self._inbox.expect(request_id) as wait:\n", ":\n"),
            Edit(
                f"{INTAKE}.analyze",
                "            return await self._answer(wait, submission, receipt, give_up)\n",
                "            with self._inbox.expect(request_id) as wait:\n"
                "                return await self._answer(wait, submission, receipt, give_up)\n",
            ),
            NO_SLOW_TIMER,
        ),
    ),
    # Seen when Redis is flushed while somebody waits: no message will ever tell of that.
    Mutant(
        "no_slow_timer",
        "P8",
        "Stored results are read again after a reconnection only.",
        (NO_SLOW_TIMER,),
    ),
    # Seen when Redis loses a task while somebody waits for it.
    Mutant(
        "lost_task_not_submitted_again",
        "P8",
        "A waiter who finds that Redis has lost its task goes on waiting.",
        (Edit(f"{INBOX}._restore", "if submission is None:", "if True:"),),
    ),
    # Seen when somebody trims a stream whose tasks are waited for.
    Mutant(
        "removed_entry_unnoticed",
        "P8",
        "A task whose entry somebody took out of its stream is believed to be queued for ever.",
        (Edit("locate", "if open and lost(", "if false and lost("),),
    ),
    # Seen when Redis loses a task that is waited for, and its id is used for other content.
    Mutant(
        "other_contents_result",
        "P2",
        "Whoever waits for an id takes its result for his, whatever content it is of.",
        (Edit("edgescale.broker.waiting.Wait.is_other", "return self.submission is not None", "return False"),),
    ),
    # Seen when several results are read in one round trip.
    Mutant(
        "replies_shifted",
        "P2",
        "Of several records that are read together each is taken for the next one's.",
        (
            Edit(
                "edgescale.broker.lookups.Lookups._flush_lookups",
                "return await self._connection.run(self._lookup, keys, [inbox for _, inbox in items])",
                "found = await self._connection.run(self._lookup, keys, [inbox for _, inbox in items])\n"
                "        return [*found[1:], *found[:1]]",
            ),
        ),
    ),
    # Seen after any outage: callers are refused long after it is over.
    Mutant(
        "breaker_stays_open",
        "P8",
        "A connection that has failed once is not tried for twenty seconds.",
        (
            Edit(
                "edgescale.broker.connection.Connection._bounded",
                "        try:\n"
                "            async with asyncio.timeout(self._patience_s):\n"
                "                return await exchange\n"
                "        except Exception as error:\n"
                "            if isinstance(error, TimeoutError):\n"
                "                self._route.suspect_all()\n"
                "            ours = _ours(error)\n",
                "        now = asyncio.get_running_loop().time()\n"
                "        if now < self.__dict__.get('_shut_until', 0):\n"
                "            exchange.close()\n"
                "            raise BrokerUnavailable('the breaker is open')\n"
                "        try:\n"
                "            async with asyncio.timeout(self._patience_s):\n"
                "                return await exchange\n"
                "        except Exception as error:\n"
                "            if isinstance(error, TimeoutError):\n"
                "                self._route.suspect_all()\n"
                "            ours = _ours(error)\n"
                "            if isinstance(ours, BrokerUnavailable) and not isinstance(ours, GroupMissing):\n"
                "                self._shut_until = now + 20\n",
            ),
        ),
    ),
    # Files.
    # Seen when a sender breaks off: its messages then end as if all had come.
    Mutant(
        "cut_file_accepted",
        "P7",
        "A file whose sender broke off is taken for a whole one.",
        (Edit("edgescale.ingestion.service._chunks", "if message is None and explicit_end:", "if False:"),),
    ),
    # Seen as above.
    Mutant(
        "broken_file_kept",
        "P7",
        "What came of a file is committed before it is known whether that was all.",
        (
            Edit(
                "edgescale.uploads.assembler.store_upload",
                "        async for chunk in chunks:\n"
                "            assembler.accept(chunk)\n"
                "            await sink.write(chunk)\n"
                "        # Still inside the block: a file that is not as declared must never become visible.\n"
                "        return assembler.reference(file_id)\n",
                "        broken = None\n"
                "        try:\n"
                "            async for chunk in chunks:\n"
                "                assembler.accept(chunk)\n"
                "                await sink.write(chunk)\n"
                "        except Exception as error:\n"
                "            broken = error\n"
                "    if broken is not None:\n"
                "        raise broken\n"
                "    return assembler.reference(file_id)\n",
            ),
        ),
    ),
    # Seen when a file is sent to a full lane that had room when it began.
    Mutant(
        "refused_file_kept",
        "P7",
        "A file stays in the store although its task was refused.",
        (
            Edit(
                f"{INTAKE}._submit_file",
                "            await self._discard(file_id)\n            raise\n",
                "            raise\n",
            ),
        ),
    ),
    # Seen when a file is sent twice under one id.
    Mutant(
        "repeated_file_kept",
        "P7",
        "A file that is sent again stays in the store beside the first.",
        (Edit(f"{INTAKE}._submit_file", "if receipt.record.file_id != file_id:", "if False:"),),
    ),
    # Seen when the reply to a file's submission is lost and its sender sends it again.
    Mutant(
        "unclear_file_discarded",
        "P7",
        "A file is removed when nobody knows whether its task was queued.",
        (Edit(f"{INTAKE}._submit_file", "except (Conflict, Overloaded):", "except Exception:"),),
    ),
)
