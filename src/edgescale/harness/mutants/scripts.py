"""Mutants of what must be atomic: bugs in the broker's scripts."""

from edgescale.harness.mutants.base import PRELUDE, Edit, Mutant

# The slow timer heals whatever a lost message breaks, within a bound that is allowed. Mutants whose harm is that a
# message is lost, or says nothing, must take it away as well, or nobody would ever notice.
NO_SLOW_TIMER = Edit(
    "edgescale.broker.inbox.Inbox._recheck_all",
    "await asyncio.sleep(self._recheck_ms / 1000)",
    "await asyncio.Event().wait()",
)
# Reclaim finds what a deleted consumer held.
NO_ADOPTION = Edit("reclaim", "if claimed[1] == '0-0' then", "if false then")

SCRIPT_MUTANTS = (
    # Submit.
    # Seen when a caller repeats itself, or a submission is sent again because its reply was lost.
    Mutant(
        "no_dedupe",
        "P2",
        "A submission does not look whether its request id is known, and queues it again.",
        (Edit("submit", "elseif known[2] and not forgotten then", "elseif false then"),),
    ),
    # Seen as above; unlike there, the caller is told the truth, and only the stream has the entry twice.
    Mutant(
        "added_before_looked_up",
        "P2",
        "A submission is added to the stream before it is looked up, so that sending it again queues it again.",
        (
            Edit(
                "submit",
                "      attach(task, inbox)\n",
                "      attach(task, inbox)\n"
                "      redis.call('XADD', stream, '*', 'request_id', request_id, 'envelope', envelope)\n",
            ),
        ),
    ),
    # Seen when two callers send different content under one id.
    Mutant(
        "conflict_undetected",
        "P2",
        "A request id that is taken by other content is taken for a repetition.",
        (Edit("submit", "if known[2] and not forgotten and known[1] and known[1] ~= digest then", "if false then"),),
    ),
    # Seen when a task takes longer than its record lives: the waiter finds none and submits it again.
    Mutant(
        "open_record_expires",
        "P2",
        "The record of a task expires while the task is still open.",
        (
            Edit(
                "submit",
                "      backlogs[stream] = backlogs[stream] + 1\n",
                "      backlogs[stream] = backlogs[stream] + 1\n      redis.call('PEXPIRE', task, 1500)\n",
            ),
        ),
    ),
    # Seen in bursts: who arrives in the same turn shares a call.
    Mutant(
        "cap_not_counted_within_batch",
        "P3",
        "All submissions of a batch are held against the backlog there was before it.",
        (Edit("submit", "      backlogs[stream] = backlogs[stream] + 1\n", ""),),
    ),
    # Seen whenever a lane fills up.
    Mutant(
        "cap_off_by_one",
        "P3",
        "A lane that holds its cap takes one more.",
        (Edit("submit", "if backlogs[stream] >= tonumber(cap) then", "if backlogs[stream] > tonumber(cap) then"),),
    ),
    # Seen whenever a lane is half full.
    Mutant(
        "refuses_early",
        "P3",
        "A lane refuses although it is only half full.",
        (Edit("submit", "if backlogs[stream] >= tonumber(cap) then", "if backlogs[stream] >= cap / 2 then"),),
    ),
    # Seen whenever a lane is more than half full.
    Mutant(
        "stream_trimmed",
        "P3",
        "The stream is bounded by MAXLEN, which drops entries that nobody has worked on.",
        (
            Edit(
                "submit",
                "'XADD', stream, '*', 'request_id',",
                "'XADD', stream, 'MAXLEN', math.ceil(cap / 2), '*', 'request_id',",
            ),
        ),
    ),
    # Settle.
    # Seen when a worker sleeps for longer than its lease and settles when it wakes, before the new owner does.
    Mutant(
        "no_fencing",
        "P4",
        "A settlement does not ask who owns the entry.",
        (Edit("settle", "local owner = owned(stream, group, consumer, entry, attempts)", "local owner = true"),),
    ),
    # Seen when a sleeper settles after the new owner has: no two workers ever make the same result.
    Mutant(
        "late_result_overwrites",
        "P2",
        "A result that comes after another one is stored in its place.",
        (
            Edit("settle", "  if terminal then\n", "  if terminal and owner then\n"),
            Edit("settle", "  elseif not owner then\n", "  elseif not owner and not terminal then\n"),
        ),
    ),
    # Seen at the end of every run: the records are gone, and far too early.
    Mutant(
        "result_ttl_too_short",
        "P1",
        "A result is kept for a second, and callers wait for longer than that.",
        (Edit("settle", "redis.call('PEXPIRE', task, ttl_ms)", "redis.call('PEXPIRE', task, 1000)"),),
    ),
    # Seen at the end of every run in which anything was settled.
    Mutant(
        "entry_kept",
        "P1",
        "A settled entry is acknowledged, and stays in the stream.",
        (Edit("settle", "    redis.call('XDEL', stream, entry)\n", ""), NO_ADOPTION),
    ),
    # Seen whenever a task uses up its tries.
    Mutant(
        "dead_letter_not_written",
        "P5",
        "A task is called dead-lettered, and no dead letter is written.",
        (Edit("settle", "if state == 'dead_lettered' then", "if false then"),),
    ),
    # Seen when two callers wait for one id at two ingestion processes.
    Mutant(
        "first_inbox_only",
        "P2",
        "Of all who wait for a task only the first is woken, and the others do not look for themselves.",
        (
            Edit(
                PRELUDE,
                "    redis.call('SPUBLISH', channel_prefix .. inbox, request_id)\n",
                "    redis.call('SPUBLISH', channel_prefix .. inbox, request_id)\n    break\n",
            ),
            NO_SLOW_TIMER,
        ),
    ),
    # Storing and publishing are one script here, so the bug needs them apart: seen when the worker dies in between, or
    # loses its reply. Who gets the entry finds the result there, and says nothing.
    Mutant(
        "published_only_by_the_winner",
        "P2",
        "A result is published a moment after it was stored, by its worker alone, and waiters do not look for it.",
        (
            Edit(
                "settle", "  if replies[item] ~= 'lost' then\n", "  if terminal and replies[item] == 'settled' then\n"
            ),
            Edit(
                "edgescale.broker.broker.Broker.settle",
                "        status: SettleStatus = reply.decode()\n",
                "        status: SettleStatus = reply.decode()\n"
                "        if status == 'settled':\n"
                "            import asyncio\n"
                "            publish = lambda: asyncio.gather(commit((consumer, settlement)), return_exceptions=True)\n"
                "            asyncio.get_running_loop().call_later(0.2, publish)\n",
            ),
            NO_SLOW_TIMER,
        ),
    ),
    # Leases.
    # Seen when a sleeper wakes: it renews what is somebody else's by now, and settles it.
    Mutant(
        "renewal_steals_back",
        "P4",
        "A renewal takes an entry back from the worker that has taken it over.",
        (Edit("renew", "if owned(KEYS[item], group, consumer, entry) then", "if true then"),),
    ),
    # Seen whenever an entry is held for longer than the time between two sweeps.
    Mutant(
        "reclaims_from_the_living",
        "P4",
        "An entry is taken over sooner than its owner renews its lease.",
        (
            Edit(
                "reclaim", "consumer, lease_ms, cursor, 'COUNT'", "consumer, math.floor(lease_ms / 8), cursor, 'COUNT'"
            ),
        ),
    ),
    # Seen with a task that fails at every try.
    Mutant(
        "failed_try_not_counted",
        "P5",
        "A task that failed goes back with the count of tries it had before.",
        (
            Edit(
                "give_back",
                "'RETRYCOUNT', deliveries,",
                "'RETRYCOUNT', reason ~= '' and math.max(deliveries - 1, 0) or deliveries,",
            ),
        ),
    ),
    # Seen with a retry, or a task that is not due, that has to wait for longer than a lease.
    Mutant(
        "long_wait_forgotten",
        "P4",
        "What has to wait for longer than a lease is claimed after a lease.",
        (Edit("give_back", "redis.call('ZADD', schedule, now_ms() + delay_ms, entry)", ""),),
    ),
    # Seen as above.
    Mutant(
        "never_due",
        "P4",
        "What waits in the schedule is put back for ever.",
        (Edit("reclaim", "if left_ms <= 0 then", "if false then"),),
    ),
    # Seen when workers look for lost entries while something waits.
    Mutant(
        "waiting_counts_as_try",
        "P4",
        "Each look at an entry that still waits counts as a delivery.",
        (Edit("reclaim", "'RETRYCOUNT', deliveries - 1, 'JUSTID'", "'RETRYCOUNT', deliveries, 'JUSTID'"),),
    ),
    # Seen when a consumer is deleted that holds entries.
    Mutant(
        "orphans_forgotten",
        "P1",
        "Entries whose consumer was deleted are nobody's, and nobody looks for them.",
        (NO_ADOPTION,),
    ),
    # Seen with a task that takes its worker along at every try.
    Mutant(
        "reclaim_counts_from_one",
        "P5",
        "An entry that is taken over counts as delivered for the first time.",
        (Edit("reclaim", "entry[1], pending[1][4], entry[2]", "entry[1], 1, entry[2]"),),
    ),
)
