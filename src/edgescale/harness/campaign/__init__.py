"""Campaigns: many runs, in many processes; their ledger, and what people see of it."""
