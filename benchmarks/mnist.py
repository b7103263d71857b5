"""Makes the plans of two published MNIST models, for `python -m benchmarks.models`.

`python -m benchmarks.mnist --data FOLDER --out FOLDER`: converts the one-layer vision transformer and LeNet
of the data folder to private form (fine-tuned on the first 8,000 test images, a minute each, cached),
compiles them, and writes `vit-mnist/`, `lenet-mnist/` and `images.npy`, the first of the remaining images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import cipherformer as cf
from cipherformer.demo import mnist, mnist_train

MODELS = {
    "vit-mnist": (mnist.load_vit, mnist_train.convert_vit),
    "lenet-mnist": (mnist.load_lenet, mnist_train.convert_lenet),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    parser.add_argument("--out", type=Path, default=Path("out/mnist"))
    options, console = parser.parse_args(), Console(highlight=False)
    torch.set_num_threads(1)
    split = mnist.load_mnist(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (load, convert) in MODELS.items():
        converted = convert(load(options.data), split, options.out / "weights")
        plan = cf.compile(converted.model, split.train_images[:256].double().numpy(), name=name)
        plan.save(options.out / name)
        console.print(
            f"{name}: {converted.accuracy_original:.2%} before, {converted.accuracy:.2%} in private form, "
            f"{plan.levels} levels, predicted {plan.summary()['predicted_seconds']:.2f} s"
        )
    np.save(options.out / "images.npy", split.test_images[:20].double().numpy())


if __name__ == "__main__":
    main()
