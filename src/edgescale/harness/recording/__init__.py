"""What everybody in a run sees, written down: the recorder, and parts of services that tell it."""
