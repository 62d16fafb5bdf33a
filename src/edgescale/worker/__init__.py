"""The worker: takes entries from its lanes, runs their handlers, settles them."""
