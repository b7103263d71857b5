"""PowerSoftmax: swap attention, continue training briefly, narrow the ranges, then substitute polynomials.

Source: Zimerman et al., arXiv 2410.09457, sections 3 and 4: p = 4, a Lipschitz division, a
length-agnostic mean, an l-infinity penalty on the inputs of every non-polynomial layer, and polynomials
put in at the end.
"""

from cipherformer.train.losses import Targets
from cipherformer.train.stage import Conversion, Forms, Stage

_TARGETS = Targets(
    interval_share=0.9, normaliser_ratio=16.0, score_bound=1.2, activation_bound=6.0, variance_ratio=60.0
)

RECIPE = Conversion(
    name="power-softmax",
    source="arXiv 2410.09457",
    about="x^p / sum x^p for softmax, ranges narrowed by training, then polynomials",
    forms=Forms(
        attention="power",
        exponent=4,
        epsilon=1e-2,
        fit="minimax",
        norm="polynomial",
        norm_ratio=80.0,
        activation=7,
    ),
    stages=(
        Stage("swap attention", replace=("attention",), epochs=2.0, learning_rate=5e-4, soft=1.0),
        Stage("narrow ranges", epochs=2.0, learning_rate=3e-4, soft=1.0, sites=0.1, targets=_TARGETS),
        Stage(
            "substitute",
            replace=("pool", "activation", "norm"),
            epochs=1.0,
            learning_rate=1e-4,
            soft=1.0,
            sites=0.1,
            targets=_TARGETS,
        ),
    ),
)
