"""What the sequences have found, shrunk: in each of these the model once answered otherwise than a server did.

A line is a command, behind the number of the connection that sends it.
"""

FOUND = [
    # A limit of -1 is none, and so is no limit in the wrong place.
    "0 ZRANGE z0 0 1 LIMIT 0 -1",
    "0 ZRANGE z0 0 1 LIMIT 0 1",
    # A cursor has 64 bits.
    "0 SCAN 18446744073709551616",
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
