"""Two published models that were not made for this: twenty real images each, encrypted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cipherformer.backends import ckks_sim
from cipherformer.backends.ckks.client import generate_keys
from cipherformer.backends.ckks.server import Evaluation
from cipherformer.compiler import compile_ckks
from cipherformer.demo import mnist, mnist_train

IMAGES = 20
ROOT = Path(__file__).parents[2]
DATA = next((d for d in (ROOT / "shared/data", ROOT.parent / "shared/data") if mnist.available(d)), ROOT)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.data,
    pytest.mark.torch,
    pytest.mark.skipif(not mnist.available(DATA), reason="no folder with the MNIST models"),
]


@pytest.mark.parametrize(
    ("load", "convert"),
    [(mnist.load_vit, mnist_train.convert_vit), (mnist.load_lenet, mnist_train.convert_lenet)],
    ids=["vit", "lenet"],
)
def test_a_published_model_answers_on_encrypted_images(load, convert) -> None:
    torch.set_num_threads(1)
    split = mnist.load_mnist(DATA)
    converted = convert(load(DATA), split, ROOT / "out" / "weights")
    assert converted.accuracy > converted.accuracy_original - 0.02
    plan = compile_ckks(converted.model, split.train_images[:256].double().numpy())
    assert plan.target.security_bits >= 128
    keys, server = generate_keys(plan.signature), Evaluation(plan)
    for name, key in keys.evaluation_keys():
        server.add_key(name, key)
    errors = []
    for image in split.test_images[:IMAGES].double().numpy():
        answer, _ = server.run(keys.encrypt(image[None]))
        found, expected = keys.decrypt(answer), ckks_sim.reference(plan, image[None])
        assert found.argmax() == expected.argmax()
        errors.append(found - expected)
    rms = float(np.sqrt(np.mean(np.square(errors))))
    assert plan.predicted_rms_error / 4 < rms < plan.predicted_rms_error * 4
    simulated = ckks_sim.run(plan, split.test_images[:1].double().numpy())
    assert server.ledger.counts == simulated.ledger.counts
