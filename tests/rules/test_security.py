"""The security table stands in three places: the engine, the compiler, SECURITY.md. They must agree."""

from __future__ import annotations

import re

from source import ROOT, imports, modules

from cipherformer import _native as native
from cipherformer.targets.ckks import MAX_LOG_QP, MAX_LOG_QP_SPARSE, SPARSE_WEIGHT


def test_engine_and_compiler_have_one_table():
    assert {log_n: native.max_log_qp(log_n) for log_n in range(10, 18)} == MAX_LOG_QP
    for log_n, limit in MAX_LOG_QP_SPARSE.items():
        assert native.max_log_qp(log_n, SPARSE_WEIGHT) == limit


def test_the_document_has_the_same_table():
    rows = re.findall(
        r"^\| 2\^(\d+) \| (\d+) \| (\d+|-) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 6
    for log_n, dense, sparse in rows:
        assert native.max_log_qp(int(log_n)) == int(dense)
        assert native.max_log_qp(int(log_n), 192) == (0 if sparse == "-" else int(sparse))


def test_no_module_imports_the_fake_bootstrapper():
    """It holds the secret key: tests only."""
    found = [f"{p.name}:{line}" for p in modules() for line, name in imports(p) if "fake_bootstrap" in name]
    assert not found
