"""The broker: tasks in Redis Streams, one hash per task, results announced over Pub/Sub."""
