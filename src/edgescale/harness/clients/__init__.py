"""Callers of a run: they send what a plan says, through whatever leads to the services, and tell what they hear."""
