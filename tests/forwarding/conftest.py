"""The real server of tests/nats, for these tests too."""

from tests.nats.conftest import name, server

__all__ = ["name", "server"]
