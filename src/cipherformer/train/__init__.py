"""Training towards a private form: swap modules, measure ranges, keep them small, a small loop.

The replacement itself and its rules stand in `cipherformer.train.swap`.
"""

from cipherformer.train.cache import train_or_load
from cipherformer.train.checkpoint import digest, load_checkpoint, save_checkpoint
from cipherformer.train.loop import Progress, Recipe, accuracy, train
from cipherformer.train.losses import Targets, condition_loss, distillation_loss, range_loss, site_loss
from cipherformer.train.observe import Observation, observe
from cipherformer.train.prepare import measure_batch_norm, rescale_scores
from cipherformer.train.ranges import Contract, SiteRange, check, intervals, measure, violations
from cipherformer.train.swap import Swapped, freeze_polynomials

__all__ = [
    "Contract",
    "Observation",
    "Progress",
    "Recipe",
    "SiteRange",
    "Swapped",
    "Targets",
    "accuracy",
    "check",
    "condition_loss",
    "digest",
    "distillation_loss",
    "freeze_polynomials",
    "intervals",
    "load_checkpoint",
    "measure",
    "measure_batch_norm",
    "observe",
    "range_loss",
    "rescale_scores",
    "save_checkpoint",
    "site_loss",
    "train",
    "train_or_load",
    "violations",
]
