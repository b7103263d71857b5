"""The public names, pinned: a change here is a change of the interface and belongs into the changelog."""

from __future__ import annotations

import importlib.metadata
import re

from source import ROOT

import cipherformer

NAMES = [
    "CipherformerError",
    "ClientKeys",
    "ErrorBudget",
    "Evaluation",
    "Options",
    "Plan",
    "Signature",
    "__version__",
    "check",
    "compile",
    "generate_keys",
    "reference",
    "simulate",
    "swap",
]


def test_the_public_names_are_these():
    assert sorted(cipherformer.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(cipherformer))


def test_every_public_name_can_be_had():
    for name in NAMES:
        assert getattr(cipherformer, name) is not None


def test_the_version_is_that_of_the_distribution_and_the_changelog():
    assert cipherformer.__version__ == importlib.metadata.version("cipherformer")
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] in (cipherformer.__version__, "Unreleased")
