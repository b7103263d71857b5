"""Polynomial transformers: pointwise attention scaled by 1/sqrt(L), range and variance losses, then
polynomials.

Source: Zimerman et al., arXiv 2311.08610: LayerNorm becomes BatchNorm in vision, with a BatchNorm2d over the
heads of the scores; in language models use
`Forms(norm="polynomial", head_norm=False)`. The activation inside attention is replaced with the others.
"""

from cipherformer.train.losses import Targets
from cipherformer.train.stage import Conversion, Forms, Stage

_TARGETS = Targets(interval_share=0.9, activation_bound=10.0, variance_ceiling=300.0)

RECIPE = Conversion(
    name="poly-transformer",
    source="arXiv 2311.08610",
    about="GELU(scores) / sqrt(L) for softmax, BatchNorm for LayerNorm, ranges narrowed, then polynomials",
    forms=Forms(attention="pointwise", head_norm=True, fit="minimax", norm="batch", activation=7),
    stages=(
        Stage(
            "swap attention and norms",
            replace=("attention", "norm"),
            epochs=4.0,
            learning_rate=1e-3,
            soft=0.5,
        ),
        Stage("narrow ranges", epochs=2.0, learning_rate=5e-4, soft=0.5, sites=0.05, targets=_TARGETS),
        Stage(
            "substitute",
            replace=("pool", "activation"),
            epochs=1.0,
            learning_rate=1e-4,
            sites=0.05,
            targets=_TARGETS,
        ),
    ),
)
