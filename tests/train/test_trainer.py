"""A converted model inside an unchanged training loop: `Trainer` of transformers, on `accelerate`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import training_small as small
from cipherformer.nn import PolynomialActivation, ScaledPowerSoftmax
from cipherformer.train import Targets, site_loss
from cipherformer.train.data import embed
from cipherformer.train.observe import SITE_TYPES, observe
from cipherformer.train.rules import fitted_activation_rule
from cipherformer.train.sites import ACTIVATIONS, sample_sites
from cipherformer.train.swap import swap

pytestmark = pytest.mark.torch
pytest.importorskip("accelerate")


class Task(nn.Module):
    """What `Trainer` calls: tokens and labels to a loss, with the losses of sites."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids, labels):
        with observe(self.inner, SITE_TYPES) as seen:
            logits = self.inner(embed(self.inner, input_ids))
            sites = site_loss(seen.take(), Targets())
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss + 0.1 * sites, "logits": logits}


def test_the_trainer_of_transformers_trains_private_forms(tmp_path):
    from transformers import Trainer, TrainingArguments

    part = small.recall(64, pairs=3, symbols=8)
    model = small.attending(small.decoder(vocabulary=16, width=16, layers=2, tokens=7), "power")
    inputs = embed(model, part.inputs).detach()
    measured = sample_sites(model, [inputs], ACTIVATIONS)
    model = swap(model, [fitted_activation_rule(5, measured)]).model
    rows = [{"input_ids": x, "labels": y} for x, y in zip(part.inputs, part.labels, strict=True)]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    options = TrainingArguments(
        str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        use_cpu=True,
        seed=0,
    )
    trainer = Trainer(model=Task(model), args=options, train_dataset=rows)
    done = trainer.train()
    assert done.global_step == 4 and done.training_loss == done.training_loss
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert any("q_proj" in name for name in moved) and len(moved) > len(before) // 2
    kinds = {type(m) for m in model.modules()}
    assert {ScaledPowerSoftmax, PolynomialActivation} <= kinds
