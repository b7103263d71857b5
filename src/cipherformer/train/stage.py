"""What a conversion does: the forms it brings in, and the stages in which a model is trained back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cipherformer.train.losses import Targets
from cipherformer.train.ranges import Contract

Kind = Literal["attention", "norm", "activation", "pool"]


@dataclass(frozen=True, slots=True)
class Forms:
    """What comes in the place of what. A kind that a model has no site of is passed over.

    Args:
        attention: `power`, `two_quad`, `pointwise` or `keep`.
        exponent: of PowerSoftmax.
        epsilon: of PowerSoftmax: what its normaliser can never fall below.
        shifted: PowerSoftmax's scores get the shift for which powers are near exponentials.
        matched: those factors and shifts are then fitted such that weights on measured scores are the
            softmax's, see `train.weighting`.
        offset: of 2Quad.
        head_norm: pointwise attention gets a BatchNorm2d over its heads (vision models), where a module says
            how many it has.
        length_scaled: pointwise attention is divided by the root of the length.
        score_bound: largest |score| that enters PowerSoftmax after the swap; None leaves the scores.
        activation: degree of the polynomials; 0 keeps activations.
        budget: error that all activations' polynomials together may make, and all norms': their degrees are
            then chosen site by site at the least predicted price, see `train.pareto`. None: `activation` and
            `norm_degree` for all.
        fit: of the polynomials, see `rules.fitted_activation_rule`.
        margin: share of measured ranges by which a polynomial's interval is wider, on both sides.
        channels: ReLU's polynomials have a public scale for each channel.
        trainable: whether coefficients are trained.
        norm: `batch`, `polynomial`, `constant` (a learnt constant denominator) or `keep`.
        norm_degree: of the polynomial for the inverse square root.
        norm_margin: by which the interval of the variance is wider, as a factor less one.
        norm_ratio: largest hi/lo before that; a wider range is cut at its low end, and losses bring what lies
            below into the interval. None leaves it.
    """

    attention: Literal["power", "two_quad", "pointwise", "keep"] = "power"
    exponent: int = 4
    epsilon: float = 1e-2
    shifted: bool = False
    matched: bool = False
    offset: float = 5.0
    head_norm: bool = False
    length_scaled: bool = True
    score_bound: float | None = 1.0
    activation: int = 7
    budget: float | None = None
    fit: Literal["samples", "even", "minimax", "quad"] = "samples"
    margin: float = 0.2
    channels: bool = False
    trainable: bool = False
    norm: Literal["batch", "polynomial", "constant", "keep"] = "batch"
    norm_degree: int = 7
    norm_margin: float = 0.25
    norm_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: swap, then train.

    Args:
        name: for reports.
        replace: kinds that are swapped before it.
        epochs: passes over the training data, whole or not; 0 only swaps and measures.
        batch_size: inputs a step.
        learning_rate: peak; rises linearly over `warm_up` of the steps.
        warm_up: that share.
        schedule: what comes then: `cosine` or `linear` to 0, or `constant`.
        optimizer: `adamw`, `sgd` with momentum 0.9, or `adafactor`, whose moments are of rows and columns
            alone (Shazeer and Stern, arXiv 1804.04235).
        weight_decay: of tensors with two axes or more.
        clip_norm: of the gradient.
        task: weight of the cross-entropy with the labels.
        soft: weight of the distillation of logits.
        temperature: of that distillation.
        hidden: weight of matching the teacher behind every activation and norm.
        scores: weight of matching the teacher's scores before the attention's weighting.
        sites: weight of the losses of `targets`.
        targets: where those start.
        transition: how what the stage replaces comes in: `at_once`; `together`, gradually over the stage; or
            `in_turn`, gradually and layer by layer, from the first to the last.
        freeze_statistics: running statistics of batch norms stay as they are.
        recalibrate: training batches on which those statistics are measured anew after the stage; 0 for none.
        checkpoint: layers are computed a second time in the backward pass instead of being kept.
    """

    name: str
    replace: tuple[Kind, ...] = ()
    epochs: float = 0.0
    batch_size: int = 64
    learning_rate: float = 1e-3
    warm_up: float = 0.1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    optimizer: Literal["adamw", "sgd", "adafactor"] = "adamw"
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    task: float = 1.0
    soft: float = 0.0
    temperature: float = 2.0
    hidden: float = 0.0
    scores: float = 0.0
    sites: float = 0.0
    targets: Targets = field(default_factory=Targets)
    transition: Literal["at_once", "together", "in_turn"] = "at_once"
    freeze_statistics: bool = False
    recalibrate: int = 0
    checkpoint: bool = False

    @property
    def needs_teacher(self) -> bool:
        """Whether the original model runs beside."""
        return self.soft > 0.0 or self.hidden > 0.0 or self.scores > 0.0


@dataclass(frozen=True, slots=True)
class Conversion:
    """A recipe: forms, stages and what the result must keep to.

    Args:
        name: as given to `convert`.
        source: where it is published.
        about: one sentence on what it does.
        forms: see `Forms`.
        stages: in order.
        contract: with the encrypted side.
    """

    name: str
    source: str
    about: str
    forms: Forms
    stages: tuple[Stage, ...]
    contract: Contract = field(default_factory=Contract)
