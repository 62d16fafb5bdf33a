"""The HTTP gateway: REST in front, gRPC to ingestion behind, nothing kept between two requests."""
