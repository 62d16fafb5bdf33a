"""Real servers, real processes, real sockets, and what befalls them."""
