"""Our own: every form at once where arguments really lie, then distillation of inner values and answers.

Polynomials are fitted by least squares to a sample of what each activation takes, so that most of the
accuracy survives the substitution itself; matching the original behind every site then repairs the rest
in few steps.
"""

from cipherformer.train.losses import Targets
from cipherformer.train.ranges import Contract
from cipherformer.train.stage import Conversion, Forms, Stage

RECIPE = Conversion(
    name="default",
    source="this package; parts from arXiv 2410.09457, 2311.08610 and 2304.14836",
    about="fits forms to measured samples, then matches the original behind every site",
    forms=Forms(
        activation=7,
        shifted=True,
        matched=True,
        channels=True,
        fit="samples",
        norm="polynomial",
        norm_degree=7,
        norm_ratio=80.0,
        epsilon=1e-2,
    ),
    stages=(
        Stage(
            "substitute and match",
            replace=("pool", "attention", "activation", "norm"),
            epochs=1.0,
            learning_rate=4e-4,
            hidden=1.0,
            soft=1.0,
            task=0.3,
            sites=0.3,
            targets=Targets(interval_share=0.85, normaliser_ratio=12.0, score_bound=1.2),
            recalibrate=20,
        ),
    ),
    contract=Contract(activation_levels=3, margin=0.0),
)
