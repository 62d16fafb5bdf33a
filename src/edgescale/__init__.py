"""EdgeScale: events in over gRPC and HTTP, worked on in parallel, exactly one answer back."""

__version__ = "0.1.0"
