"""A server for a CKKS plan. Nothing here can make or read a secret key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cipherformer.backends.ckks.server import Evaluation
from cipherformer.plan.plan import Plan
from cipherformer.plan.weights import MAX_WEIGHT_BYTES
from cipherformer.serve.address import Address
from cipherformer.serve.interface import Log, PlanFacts
from cipherformer.serve.server import Server, ServerOptions


def make_server(
    plan: Plan,
    address: str | Address,
    key_store: str | Path,
    *,
    threads: int = 2,
    max_weight_bytes: int = MAX_WEIGHT_BYTES,
    max_key_bytes: int | None = None,
    options: ServerOptions | None = None,
    log: Log = lambda event, facts: None,
    on_step: Callable[[int, int], None] | None = None,
) -> Server:
    """A server that listens and has encoded the plan's weights; call `serve_forever` on it.

    Args:
        plan: what it computes.
        address: `unix:/path` or `tcp:host:port`.
        key_store: folder for the clients' evaluation keys; created if needed.
        threads: of the engine.
        max_weight_bytes: of encoded weights in memory; see `Evaluation`.
        max_key_bytes: of evaluation keys in memory; see `Evaluation`.
        options: limits and times.
        log: takes events.
        on_step: called while weights are encoded.

    Raises:
        ProtocolError: if the address cannot be bound.
    """
    where = address if isinstance(address, Address) else Address.parse(address)
    first = Evaluation(plan, threads=threads, max_weight_bytes=max_weight_bytes)
    first.prepare(on_step)

    def make() -> Evaluation:
        return Evaluation(plan, threads=threads, encoded=first.encoded, max_key_bytes=max_key_bytes)

    return Server(where, PlanFacts.of(plan.signature), make, Path(key_store), options=options, log=log)
