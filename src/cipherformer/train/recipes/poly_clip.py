"""Zero-shot classification: the image tower in private form; texts are embedded once, in the clear.

Source: Baruch et al., arXiv 2304.14836, section 5. The data's labels are class numbers and the model's
last layer the fixed matrix of class embeddings; the forms are those of `default`.
"""

from dataclasses import replace

from cipherformer.train.recipes import default

RECIPE = replace(
    default.RECIPE,
    name="poly-clip",
    source="arXiv 2304.14836, section 5",
    about="the image tower of a zero-shot classifier; class embeddings stay fixed",
)
