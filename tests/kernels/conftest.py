"""Values and algebras that the kernel tests share."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_rings import small_target

from cipherformer.backends.ckks_sim import SimAlgebra
from cipherformer.targets.ckks import CkksTarget


@pytest.fixture
def target() -> CkksTarget:
    return small_target()


@pytest.fixture
def exact_slots(target: CkksTarget) -> SimAlgebra:
    """The slot algebra without noise."""
    return SimAlgebra(target)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
