"""A client and a server with the keys of a bootstrapping set; the rings are insecure on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cipherformer import _native as native
from cipherformer.backends.ckks.algebra import CkksAlgebra, Encoded
from cipherformer.backends.ckks.engine import make_context
from cipherformer.kernels.count import Ledger
from cipherformer.targets.bootstrap import BootstrapSet


@dataclass
class Party:
    """Keys by a ledger, and an algebra that refreshes."""

    settings: BootstrapSet
    context: native.Context
    secret: native.SecretKey
    keys: native.KeySet
    algebra: CkksAlgebra

    def encrypt(self, values: np.ndarray, level: int, scale: float) -> native.Ciphertext:
        return self.secret.encrypt(self.context.encode(np.ascontiguousarray(values), level, scale))

    def decrypt(self, ciphertext: native.Ciphertext) -> np.ndarray:
        return self.context.decode(self.secret.decrypt(ciphertext))


def make_party(settings: BootstrapSet, ledger: Ledger, *, threads: int = 1) -> Party:
    """Fresh keys, exactly those that the ledger names."""
    target = settings.target()
    context = make_context(target, threads=threads)
    secret, keys = native.SecretKey(context), native.KeySet(context)
    keys.add(secret.relinearisation_key(ledger.relinearise))
    keys.add(secret.conjugation_key(ledger.conjugate))
    keys.add(secret.encapsulation_key())
    keys.add(secret.decapsulation_key(ledger.raised))
    for steps, level in ledger.rotations.items():
        keys.add(secret.rotation_key(steps, level))
    evaluator = native.Evaluator(context, keys)
    algebra = CkksAlgebra(target.moduli, target.slots, evaluator, Encoded(context), bootstrap=settings)
    return Party(settings, context, secret, keys, algebra)


def bits(error: np.ndarray) -> tuple[float, float]:
    """-log2 of the mean and of the largest absolute error."""
    return float(-np.log2(np.abs(error).mean())), float(-np.log2(np.abs(error).max()))
