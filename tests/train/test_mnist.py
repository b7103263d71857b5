"""The two published MNIST models: loaders that check what they read, and a short conversion."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cipherformer.demo import mnist, mnist_train
from cipherformer.demo.data import Split
from cipherformer.errors import DataError, FormatError
from cipherformer.nn import BatchNorm, PolynomialActivation, PowerSoftmax
from cipherformer.train import Contract, accuracy

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2]
DATA = next((d for d in (ROOT / "shared/data", ROOT.parent / "shared/data") if mnist.available(d)), ROOT)
needs_data = pytest.mark.skipif(not mnist.available(DATA), reason="no folder with the MNIST models")


@pytest.fixture
def tiny_split():
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(64, 1, 28, 28, generator=generator), torch.arange(64) % 10
    return Split(images[:48], labels[:48], images[48:], labels[48:])


@pytest.fixture
def short(monkeypatch):
    for name in ("VIT_RECIPE", "LENET_RECIPE"):
        monkeypatch.setattr(mnist_train, name, replace(getattr(mnist_train, name), epochs=1, batch_size=16))
    for name in ("VIT_CONTRACT", "LENET_CONTRACT"):
        monkeypatch.setattr(mnist_train, name, Contract(normaliser_ratio=1e9, margin=-0.5))


@pytest.mark.data
@needs_data
def test_published_accuracy_on_the_first_images():
    split = mnist.load_mnist(DATA)
    assert split.train_images.shape == (8000, 1, 28, 28) and split.test_images.shape == (2000, 1, 28, 28)
    vit, lenet = mnist.load_vit(DATA), mnist.load_lenet(DATA)
    images = torch.cat([split.train_images, split.test_images])
    labels = torch.cat([split.train_labels, split.test_labels])
    assert accuracy(vit, images, labels) == pytest.approx(0.8397, abs=2e-4)
    assert accuracy(lenet, images, labels) == pytest.approx(0.9816, abs=2e-4)


def test_vit_conversion_replaces_every_site_and_is_cached(tiny_split, short, tmp_path):
    torch.manual_seed(0)
    original = mnist.TinyViT().eval()
    first = mnist_train.convert_vit(original, tiny_split, tmp_path)
    kinds = [type(module) for module in first.model.modules()]
    assert (kinds.count(PowerSoftmax), kinds.count(BatchNorm), kinds.count(PolynomialActivation)) == (1, 3, 1)
    assert not {nn.MultiheadAttention, nn.LayerNorm, nn.GELU} & set(kinds)
    again = mnist_train.convert_vit(original, tiny_split, tmp_path)
    assert again.cached and not first.cached
    assert torch.equal(first.model(tiny_split.test_images), again.model(tiny_split.test_images))


def test_lenet_conversion_keeps_its_measured_intervals_in_the_cache(tiny_split, short, tmp_path):
    torch.manual_seed(0)
    original = mnist.LeNet().eval()
    first = mnist_train.convert_lenet(original, tiny_split, tmp_path)
    again = mnist_train.convert_lenet(original, tiny_split, tmp_path)
    assert again.cached and not first.cached
    assert [(s.domain_low, s.domain_high) for s in first.ranges] == [
        (s.domain_low, s.domain_high) for s in again.ranges
    ]
    assert len({s.domain_high for s in first.ranges}) == 4
    assert torch.equal(first.model(tiny_split.test_images), again.model(tiny_split.test_images))


def test_missing_and_damaged_files_are_refused(tmp_path):
    assert not mnist.available(tmp_path)
    with pytest.raises(DataError, match="missing"):
        mnist.load_vit(tmp_path)
    for folder, name in (("vit_mnist_11k", "mnist_vit.pth"), ("heir_mnist", "lenet_traced.pt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"\x01" * 64)
    with pytest.raises(FormatError, match="not the weights"):
        mnist.load_vit(tmp_path)
    with pytest.raises(FormatError, match="not the weights"):
        mnist.load_lenet(tmp_path)
    (tmp_path / "mnist_test").mkdir()
    images = tmp_path / "mnist_test" / "t10k-images-idx3-ubyte.gz"
    images.write_bytes(b"no gzip")
    with pytest.raises(FormatError, match="gzip"):
        mnist.load_mnist(tmp_path)
    images.write_bytes(gzip.compress(b"\x00\x00\x08\x03" + b"\x00\x00\x00\x02" * 3 + b"\x00" * 7))
    with pytest.raises(FormatError, match="does not hold"):
        mnist.load_mnist(tmp_path)
    images.write_bytes(gzip.compress(b"\x00\x00\x0d\x03"))
    with pytest.raises(FormatError, match="IDX"):
        mnist.load_mnist(tmp_path)
