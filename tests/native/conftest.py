"""Contexts that the tests of the engine share."""

from __future__ import annotations

import pytest
from native_party import Party, make_parameters, make_party

ROTATIONS = (1, 2, 3, 4, 5, 8, 16, 64, -1)


@pytest.fixture(scope="session")
def party() -> Party:
    """N = 2^12, 6 limbs of which the digits take 2."""
    return make_party(make_parameters(12, 5), ROTATIONS)


@pytest.fixture(scope="session")
def toy() -> Party:
    """N = 32, 5 limbs in digits of 2, 2 and 1: small enough for the exact reference."""
    return make_party(make_parameters(5, 4), (1, 3, 7))
