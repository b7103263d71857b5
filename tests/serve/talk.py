"""What the tests of client and server share: one question, and connections that misbehave."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import numpy as np
from fake_backend import facts

from cipherformer.serve import messages as m
from cipherformer.serve.address import Address
from cipherformer.serve.channel import Channel
from cipherformer.serve.client import Client

X = np.array([1.0, 2.0, 3.0, 4.0])


def answers(client: Client) -> None:
    np.testing.assert_array_equal(client.ask(X).output, 2 * X)


def until(happened: Callable[[], bool]) -> None:
    """Waits for something that the server does on its own time, such as writing its log."""
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def dial(address: Address) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5.0)
    sock.connect(address.path)
    return sock


def channel_to(address: Address, keys=None) -> Channel:
    """A connection that has said hello, for tests that then misbehave."""
    channel = Channel(dial(address), silence_s=5.0)
    known = facts()
    client = keys.manifest.client if keys else "a" * 64
    channel.send(
        m.Hello(
            protocol=m.PROTOCOL,
            fingerprint=known.fingerprint,
            parameters=known.parameters,
            client=client,
            software="test",
        )
    )
    channel.session = channel.expect(m.Welcome)[0].session
    return channel
