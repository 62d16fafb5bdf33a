"""What holds for all tests."""

import os

from hypothesis import settings

# The embedded server is started by a fork that runs Python before it executes the server, and gRPC's own handlers of
# forks crash that child, now and then, where gRPC is at work in the same process. Nobody here uses gRPC after a fork.
# Read by grpc when it is imported. Source: gRPC Core, doc/environment_variables.md and doc/fork_support.md.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# No test asserts on how long something takes, Hypothesis' included: machines are shared.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
