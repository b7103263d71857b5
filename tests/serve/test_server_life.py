"""Servers that die, hang, restart or are not there, as processes of their own."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from fake_backend import SECRET, facts
from talk import X, answers

from cipherformer.errors import ProtocolError
from cipherformer.serve.address import Address
from cipherformer.serve.channel import RefusedError


def test_a_killed_server_is_noticed_at_once_and_serves_the_same_keys_again(
    folder, run_process, connect
) -> None:
    address = f"unix:{folder / 'socket'}"
    process = run_process(address, "--steps", "600", "--step-s", "0.05")
    with connect(Address.parse(address)) as client:
        assert client.key_bytes_sent > 0
        threading.Timer(0.5, process.kill).start()
        start = time.monotonic()
        with pytest.raises(ProtocolError, match="the server went away"):
            client.ask(X)
        assert time.monotonic() - start < 5
    run_process(address)
    with connect(Address.parse(address)) as client:
        assert client.key_bytes_sent == 0
        answers(client)


def test_a_frozen_server_is_noticed_by_its_silence(folder, run_process, connect) -> None:
    import signal

    address = f"unix:{folder / 'socket'}"
    process = run_process(address, "--steps", "600", "--step-s", "0.05")
    with connect(Address.parse(address), silence_s=2.0) as client:
        timer = threading.Timer(0.3, process.send_signal, (signal.SIGSTOP,))
        timer.start()
        start = time.monotonic()
        with pytest.raises(ProtocolError, match="the server went away"):
            client.ask(X)
        assert time.monotonic() - start < 10


def test_a_slow_server_is_not_taken_for_dead(folder, run_process, connect) -> None:
    address = f"unix:{folder / 'socket'}"
    run_process(address, "--steps", "1", "--step-s", "4")
    with connect(Address.parse(address), silence_s=2.0) as client:
        answers(client)


def test_sigterm_ends_a_server_cleanly(folder, run_process, connect) -> None:
    address = f"unix:{folder / 'socket'}"
    process = run_process(address, "--steps", "600", "--step-s", "0.05")
    with connect(Address.parse(address)) as client:
        threading.Timer(0.3, process.terminate).start()
        with pytest.raises(RefusedError, match="shuts down"):
            client.ask(X)
    assert process.wait(10) == 0
    assert not (folder / "socket").exists()


def test_a_damaged_key_on_the_servers_disk_is_asked_for_again(folder, run_server, connect) -> None:
    address, _ = run_server()
    with connect(address) as client:
        name = client._keys.manifest.client
    victim = sorted((folder / "store" / name).glob("*.key"))[0]
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    second, _ = run_server()  # a fresh process would also read from disk
    with connect(second) as client, pytest.raises(RefusedError, match="keys are missing") as caught:
        client.ask(X)
    assert caught.value.code == "keys_missing"
    with connect(second) as client:
        assert client.key_bytes_sent > 0
        answers(client)


def test_two_servers_cannot_share_an_address(run_server, folder) -> None:
    from fake_backend import FakeEvaluation

    from cipherformer.serve.server import Server

    address, _ = run_server()
    with pytest.raises(ProtocolError, match="cannot listen"):
        Server(address, facts(), FakeEvaluation, folder / "other")


def test_no_server_is_a_clear_error(folder, connect) -> None:
    with pytest.raises(ProtocolError, match="cannot reach the server"):
        connect(Address(path=str(folder / "nobody")))


def test_a_server_that_talks_nonsense_is_a_clear_error(folder, connect) -> None:
    path = str(folder / "nonsense")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)

        def talk() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(struct.pack("<Q", 12345) * 10)

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(ProtocolError, match="not a cipherformer frame"):
            connect(Address(path=path))
        thread.join()


def test_the_store_and_the_log_hold_no_secret(folder, run_server, connect) -> None:
    address, log = run_server()
    with connect(address) as client:
        answers(client)
    for path in (folder / "store").rglob("*"):
        assert path.is_dir() or SECRET not in path.read_bytes()
    assert "FAKE" not in repr(log)


def test_the_server_side_never_imports_the_client_side() -> None:
    code = (
        "import sys, cipherformer.serve.server as s; "
        "bad = [m for m in sys.modules if 'client' in m and m.startswith('cipherformer')]; "
        "sys.exit(repr(bad) if bad or 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
