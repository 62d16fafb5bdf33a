"""One machine: the embedded Valkey server, and the processes of `edgescale up`."""
