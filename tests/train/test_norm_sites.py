"""Norms and masks of models as they are found, and the weights of losses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cipherformer.capture import capture
from cipherformer.capture.pretrained import wrapped
from cipherformer.errors import ModelError
from cipherformer.nn import PolynomialActivation, ScaledPowerSoftmax
from cipherformer.train import Targets, site_loss
from cipherformer.train.build import Swapper
from cipherformer.train.lift import lift
from cipherformer.train.observe import observe
from cipherformer.train.recipes import recipe
from cipherformer.train.stage import Stage
from cipherformer.train.swap import batch_norm_rule, swap

pytestmark = pytest.mark.torch


def test_batch_norm_takes_the_place_of_rms_norms_and_not_of_norms_over_channels_first():
    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.RMSNorm(4)

        def forward(self, x):
            return self.norm(x)

    new = swap(Made(), [batch_norm_rule((nn.RMSNorm,))]).model.norm
    assert torch.equal(new.inner.weight, torch.ones(4)) and torch.equal(new.inner.bias, torch.zeros(4))
    first = nn.LayerNorm(4)
    first.data_format = "channels_first"
    with pytest.raises(ModelError, match="not the last"):
        swap(nn.Sequential(first), [batch_norm_rule()])


def test_norms_over_channels_of_images_are_replaced_where_they_stand():
    from transformers import ConvNextConfig, ConvNextForImageClassification

    sizes = {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2, "num_labels": 3}
    torch.manual_seed(0)
    net = ConvNextForImageClassification(ConvNextConfig(image_size=16, patch_size=2, **sizes)).eval()
    loaded = wrapped(net, "convnext", tokens=1)
    x = torch.randn(8, 3, 16, 16)
    lifted = lift(loaded.module, *loaded.example_inputs)
    stage = Stage("swap", replace=("activation", "norm"))
    new, sites = Swapper(recipe("default"), lambda _: [x])(lifted, stage)
    assert "ChannelsFirst" in {site.after for site in sites}
    with torch.no_grad():
        wanted, got = loaded.module(x), new(x)
    assert float((got - wanted).abs().max()) < 0.05 * float(wanted.abs().max())
    ops = [node.op for node in capture(new, (x[:1],)).nodes]
    assert ops.count("polynomial_norm") == sum(site.kind == "norm" for site in sites)


def test_weights_of_range_and_variance_losses_are_apart():
    model = nn.Sequential(nn.LayerNorm(4), PolynomialActivation.fit("gelu", degree=3, low=-0.1, high=0.1))
    x = 3.0 * torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    found = {}
    for name, weights in {"both": {}, "range": {"variances": 0.0}, "variance": {"ranges": 0.0}}.items():
        with observe(model, (nn.LayerNorm, PolynomialActivation)) as seen:
            model(x)
            found[name] = site_loss(seen.take(), Targets(variance_ceiling=0.1, **weights)).item()
    assert found["both"] == pytest.approx(found["range"] + found["variance"])
    assert min(found.values()) > 0.0


def test_windows_that_swin_closes_to_each_other_are_masked():
    """Its masks are additive, with -100: raised to a power they would outweigh all scores."""
    from transformers import SwinConfig, SwinForImageClassification

    sizes = {"embed_dim": 8, "depths": [2], "num_heads": [2], "window_size": 4, "num_labels": 3}
    torch.manual_seed(0)
    config = SwinConfig(image_size=16, patch_size=2, drop_path_rate=0.0, **sizes)
    loaded = wrapped(SwinForImageClassification(config).eval(), "swin", tokens=1)
    x = torch.randn(4, 3, 16, 16)
    lifted = lift(loaded.module, *loaded.example_inputs)
    new, _ = Swapper(recipe("default"), lambda _: [x])(lifted, Stage("swap", replace=("attention",)))
    weightings = [m for m in new.modules() if isinstance(m, ScaledPowerSoftmax)]
    with torch.no_grad(), observe(new, (ScaledPowerSoftmax,)) as seen:
        wanted, got = loaded.module(x), new(x)
        masks = [call.mask for call in seen.take()]
    assert len(weightings) == 2 and masks[1] is not None and not masks[1].all()
    assert all(float(w.factor.min()) > 0.1 for w in weightings), "scores were taken for far larger ones"
    assert float((got - wanted).abs().max()) < 0.02 * float(wanted.abs().max())
