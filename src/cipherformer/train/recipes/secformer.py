"""SecFormer: 2Quad for softmax, GELU and LayerNorm kept for protocols on shares, distillation in two stages.

Source: Luo et al., arXiv 2401.00793, section 3 and appendix. Stage 1 matches scores and hidden states, masked
scores zeroed on both sides (rate 5e-5, no schedule, batch 32, decay 0.01); stage 2 the soft cross-entropy
with temperature 1 (rate 1e-5, linear with 10% warm-up, 5 epochs). The result runs between two parties,
not under encryption.
"""

from cipherformer.train.stage import Conversion, Forms, Stage

RECIPE = Conversion(
    name="secformer",
    source="arXiv 2401.00793",
    about="(x + 5)^2 / sum (x + 5)^2 for softmax, two stages of distillation; for two parties",
    forms=Forms(attention="two_quad", offset=5.0, activation=0, norm="keep"),
    stages=(
        Stage(
            "match layers",
            replace=("attention",),
            epochs=10.0,
            batch_size=32,
            learning_rate=5e-5,
            weight_decay=0.01,
            schedule="constant",
            warm_up=0.0,
            task=0.0,
            hidden=1.0,
            scores=1.0,
        ),
        Stage(
            "match answers",
            epochs=5.0,
            batch_size=32,
            learning_rate=1e-5,
            weight_decay=0.01,
            schedule="linear",
            task=0.0,
            soft=1.0,
            temperature=1.0,
        ),
    ),
)
