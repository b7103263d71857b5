"""MPCFormer: 2Quad for softmax and Quad for GELU, distilled layer by layer, then by answers; a baseline.

Source: Li et al., ICLR 2023, section 3. Quad(x) = 0.125 x^2 + 0.25 x + 0.5 in place of GELU.
"""

from cipherformer.train.stage import Conversion, Forms, Stage

RECIPE = Conversion(
    name="mpcformer",
    source="Li et al., ICLR 2023",
    about="2Quad for softmax and a fixed quadratic for GELU; for two parties",
    forms=Forms(attention="two_quad", offset=5.0, activation=2, fit="quad", norm="keep"),
    stages=(
        Stage(
            "match layers",
            replace=("attention", "activation"),
            epochs=10.0,
            batch_size=32,
            learning_rate=5e-5,
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
            schedule="linear",
            task=0.0,
            soft=1.0,
            temperature=1.0,
        ),
    ),
)
