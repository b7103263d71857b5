"""Hide: slots of an answer that are not part of the output are set to zero, so that they tell nothing about
intermediate values. One level and one plaintext product for each output.

A pass for plans whose answers are re-randomised (`Options.flood_bits`); see SECURITY.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cipherformer.kernels.algebra import Transform
from cipherformer.kernels.step import Step, TermStep
from cipherformer.passes.packing import Packed


def hide_outputs(packed: Packed, slots: int) -> Packed:
    """The same plan, its outputs multiplied by 1 where they are read and by 0 elsewhere."""
    steps, transforms = list(packed.steps), dict(packed.transforms)
    by_name = {s.name: s for s in packed.steps}
    outputs = []
    for name in packed.outputs:
        source, key = by_name[name], f"{name}.hidden"
        mask = np.zeros((1, slots))
        mask[0, source.layout.home_slots()] = 1.0
        transforms[key] = Transform(key, (0,), mask, 1)
        terms = (TermStep(0, (), key, ()),)
        steps.append(Step(key, "affine", (name,), source.layout, source.origin, terms, bound=source.bound))
        outputs.append(key)
    return replace(packed, steps=tuple(steps), outputs=tuple(outputs), transforms=transforms)
