"""What holds for all tests."""

import argparse
import os

import pytest
from hypothesis import settings

from edgescale.errors import ConfigError
from edgescale.harness.chaos.providers import Choice, parse_provider

# The embedded server is started by a fork that runs Python before it executes the server, and gRPC's own handlers of
# forks crash that child, now and then, where gRPC is at work in the same process. Nobody here uses gRPC after a fork.
# Read by grpc when it is imported. Source: gRPC Core, doc/environment_variables.md and doc/fork_support.md.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# No test asserts on how long something takes, Hypothesis' included: machines are shared.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def provider(text: str) -> Choice:
    """The option's value."""
    try:
        return parse_provider(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def pytest_addoption(parser: pytest.Parser) -> None:
    """Every suite takes the option, so that several nox sessions can share one line; integration and chaos obey it."""
    told = (
        "where servers come from: auto, docker, native, compose (or native:redis ...) or a URL; see docs/providers.md"
    )
    parser.addoption("--provider", type=provider, default=Choice("auto"), metavar="PROVIDER", help=told)
    told = "which scenarios tests/chaos runs: `some` of them for a few seconds, or `all`"
    parser.addoption("--scenarios", choices=("some", "all"), default="some", help=told)
