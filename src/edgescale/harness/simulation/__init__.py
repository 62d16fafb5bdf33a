"""Deterministic simulation: the real services on virtual time, a simulated network and a modelled Redis."""
