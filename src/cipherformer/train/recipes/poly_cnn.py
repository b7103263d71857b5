"""Polynomial CNNs: range-aware ReLU, then polynomials of degree 18 fitted on measured ranges and fine-tuned.

Source: Baruch et al., arXiv 2304.14836: average for max-pooling, hinge on the extremes of each activation
(R = 10, weight 0.002), least squares on even points of the range, frozen coefficients, weight 0.1, and
distillation with temperature 10. Degree 18 breaks the default contract (5 levels for 3), which the recipe
states.
"""

from cipherformer.train.losses import Targets
from cipherformer.train.ranges import Contract
from cipherformer.train.stage import Conversion, Forms, Stage

RECIPE = Conversion(
    name="poly-cnn",
    source="arXiv 2304.14836",
    about="range-aware training with ReLU, then degree 18 polynomials, fine-tuned",
    forms=Forms(attention="keep", activation=18, fit="even", margin=0.15, norm="keep"),
    stages=(
        Stage(
            "narrow ranges",
            replace=("pool",),
            epochs=1.0,
            learning_rate=5e-3,
            optimizer="sgd",
            weight_decay=5e-4,
            soft=0.1,
            temperature=10.0,
            sites=0.002,
            targets=Targets(activation_bound=10.0),
        ),
        Stage(
            "substitute",
            replace=("activation",),
            epochs=1.0,
            learning_rate=1e-3,
            optimizer="sgd",
            weight_decay=5e-4,
            soft=0.1,
            temperature=10.0,
            sites=0.1,
            targets=Targets(interval_share=0.85),
        ),
    ),
    contract=Contract(activation_levels=5, margin=0.0),
)
