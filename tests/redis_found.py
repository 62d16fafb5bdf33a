"""What the sequences have found, shrunk: in each of these the model once answered otherwise than a server did.

A line is a command, behind the number of the connection that sends it.
"""

FOUND = [
    # A cursor of no characters at all is 0 before Redis 7.2.
    "0 SCAN '' COUNT 100 MATCH s*",
    # A limit of -1 is none, and so is no limit in the wrong place.
    "0 ZRANGE z0 0 1 LIMIT 0 -1",
    "0 ZRANGE z0 0 1 LIMIT 0 1",
    # After a pause, each client is served to the end of what it sent before the next one is.
    """
    0 CLIENT PAUSE 100000000 WRITE
    1 SET k0 1
    1 GET k0
    2 SET k0 2
    0 CLIENT UNPAUSE
    """,
    # A transaction that will be refused is not judged by what was queued after that; since 7.2, by nothing of it.
    """
    1 MULTI
    1 SET k0 1
    1 GET
    0 CLIENT PAUSE 100000000 WRITE
    1 EXEC
    0 CLIENT UNPAUSE
    """,
    """
    1 MULTI
    1 GET
    1 SET k0 1
    0 CLIENT PAUSE 100000000 WRITE
    1 EXEC
    """,
    """
    1 MULTI
    1 SET k0 1
    0 CONFIG SET maxmemory 1
    1 GET
    1 EXEC
    """,
    # Who ends its own connection within a transaction hears of all up to that.
    """
    0 MULTI
    0 SET k0 1
    0 CLIENT KILL TYPE normal SKIPME no
    0 EXEC
    """,
    """
    0 MULTI
    0 CLIENT KILL TYPE normal SKIPME no
    0 SET k0 1
    0 EXEC
    """,
    # A cursor has 64 bits.
    "0 SCAN 18446744073709551616",
    # During a pause, nobody asks whether there is memory.
    """
    0 CONFIG SET maxmemory 1
    0 SET k0 1
    0 CLIENT PAUSE 100000000 WRITE
    1 SET k0 1
    0 SET k1
    0 CLIENT UNPAUSE
    """,
    # Before Redis 7.2, transactions may not grow when memory is out; not even by an error.
    """
    0 MULTI
    1 CONFIG SET maxmemory 1
    0 MULTI
    0 GET k0
    0 EXEC
    """,
    # Sizes have units; nothing is set when anything is wrong, and the first thing that is wrong is told.
    """
    0 CONFIG SET maxmemory 1kb
    0 CONFIG GET maxmemory
    0 CONFIG SET maxmemory 100MB maxmemory-policy x
    0 CONFIG SET maxmemory '' appendfsync sometimes
    0 CONFIG SET maxmemory 5 maxmemory 5
    0 CONFIG SET maxmemory 5 appendfsync
    0 CONFIG SET maxmemory -1
    0 CONFIG GET maxmemory
    """,
    # Of an option that is repeated the last counts; only ids add up, and only since Valkey 8.1.
    """
    1 SUBSCRIBE n0
    0 CLIENT KILL TYPE pubsub TYPE replica
    0 CLIENT KILL ID 99998 ID 99999
    0 CLIENT KILL ID 99998 99999
    0 CLIENT KILL ID 0 TYPE x
    0 CLIENT KILL TYPE x ID
    0 CLIENT KILL TYPE normal
    """,
]
