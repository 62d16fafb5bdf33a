"""Handlers: what is done with a task once a worker has it."""
