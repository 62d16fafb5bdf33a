"""Ingestion: the gRPC service that accepts requests and answers them."""
