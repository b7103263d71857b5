"""Private inference of transformers: from a PyTorch model to encrypted answers.

    import cipherformer as cf

    plan = cf.compile(model, samples)            # everything decided: levels, keys, seconds, bytes
    keys = cf.generate_keys(plan.signature)      # the client's; the secret key never leaves it
    server = cf.Evaluation(plan)                 # the server's: weights and evaluation keys, no secret
    for name, key in keys.evaluation_keys():
        server.add_key(name, key)
    answer, trace = server.run(keys.encrypt(x))
    logits = keys.decrypt(answer)

Names are loaded when they are first used: a client or a server that only runs plans imports numpy and the
engine, not torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cipherformer.backends.ckks.client import ClientKeys, generate_keys
    from cipherformer.backends.ckks.server import Evaluation
    from cipherformer.backends.ckks_sim import reference
    from cipherformer.backends.ckks_sim import run as simulate
    from cipherformer.capture import check
    from cipherformer.compiler import Options
    from cipherformer.compiler import compile_ckks as compile
    from cipherformer.errors import CipherformerError
    from cipherformer.ops import ErrorBudget
    from cipherformer.plan.plan import Plan
    from cipherformer.plan.signature import Signature
    from cipherformer.train.swap import swap

_HOMES = {
    "CipherformerError": ("errors", "CipherformerError"),
    "ClientKeys": ("backends.ckks.client", "ClientKeys"),
    "ErrorBudget": ("ops", "ErrorBudget"),
    "Evaluation": ("backends.ckks.server", "Evaluation"),
    "Options": ("compiler", "Options"),
    "Plan": ("plan.plan", "Plan"),
    "Signature": ("plan.signature", "Signature"),
    "check": ("capture", "check"),
    "compile": ("compiler", "compile_ckks"),
    "generate_keys": ("backends.ckks.client", "generate_keys"),
    "reference": ("backends.ckks_sim", "reference"),
    "simulate": ("backends.ckks_sim", "run"),
    "swap": ("train.swap", "swap"),
}

__all__ = [
    "CipherformerError",
    "ClientKeys",
    "ErrorBudget",
    "Evaluation",
    "Options",
    "Plan",
    "Signature",
    "__version__",
    "check",
    "compile",
    "generate_keys",
    "reference",
    "simulate",
    "swap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
