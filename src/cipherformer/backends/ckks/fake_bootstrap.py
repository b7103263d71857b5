"""Fake bootstrapping, for tests: it decrypts and encrypts again, so it needs the secret key.

Fast, exact in level and scale, with an error of the size of the real one. No server may use it: whoever holds
it can read everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt

import numpy as np

from cipherformer import _native as native
from cipherformer.errors import ParameterError
from cipherformer.targets.bootstrap import BootstrapSet


class FakeRefresh:
    """A refresher that knows the secret key.

    Args:
        context: of the engine.
        secret: the client's secret key.
        bootstrap: the set whose error is imitated; its name begins with `insecure`.
        seed: of the error.

    Raises:
        ParameterError: for a secure set, whose secret key has nothing to do here.
    """

    def __init__(
        self, context: native.Context, secret: native.SecretKey, bootstrap: BootstrapSet, seed: int = 0
    ) -> None:
        if not bootstrap.insecure:
            raise ParameterError("fake bootstrapping with secure parameters", why="it needs the secret key")
        self._context, self._secret, self._set = context, secret, bootstrap
        self._rng = np.random.default_rng(seed)

    def __call__(
        self, values: Sequence[native.Ciphertext], level: int, scale: float
    ) -> list[native.Ciphertext]:
        """The same values at a level and scale."""
        return [self._refreshed(value, level, scale) for value in values]

    def _refreshed(self, value: native.Ciphertext, level: int, scale: float) -> native.Ciphertext:
        slots = np.real(self._context.decode(self._secret.decrypt(value)))
        deviation = sqrt(pi / 2) * 2.0**-self._set.precision_bits
        noisy = slots + self._rng.normal(0.0, deviation, slots.shape)
        return self._secret.encrypt(self._context.encode(noisy, level, scale))
