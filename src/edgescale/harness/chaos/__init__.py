"""Plans on real parts: real servers, real sockets, real processes."""
