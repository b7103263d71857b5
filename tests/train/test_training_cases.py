"""Every case of `benchmarks.training` runs, as a smoke test on random data, and leaves its records."""

from __future__ import annotations

import pytest
import torch

from benchmarks import training_small as small
from benchmarks.training import STUDIES, main
from benchmarks.training_cases import CASES
from benchmarks.training_studies import spread
from cipherformer.report import schema
from cipherformer.train.data import IGNORED

pytestmark = pytest.mark.torch
QUICK = [name for name, case in CASES.items() if case.quick is not None]
FAST = ("ranges", "text-classification", "reasoning")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in (*QUICK, *STUDIES)]
)
def test_a_case_runs_and_leaves_records(name, tmp_path, capsys):
    path = tmp_path / "records.json"
    quick = ["--case", name, "--quick", "--threads", "1", "--out", str(tmp_path), "--json", str(path)]
    main(quick)
    found = schema.read(path)
    assert isinstance(found, list) and {r.case for r in found} == {name}
    assert all(r.value == r.value for r in found), "a number is missing"
    count = len(found)
    main(quick)
    assert len(schema.read(path)) == count, "records of a case are replaced"
    assert "minutes on 2 cores" in capsys.readouterr().out


def test_the_answer_of_recall_follows_from_its_context():
    part = small.recall(50, pairs=4, symbols=8)
    for row, label in zip(part.inputs.tolist(), part.labels.tolist(), strict=True):
        pairs = dict(zip(row[:-1:2], row[1:-1:2], strict=True))
        assert len(pairs) == 4 and pairs[row[-1]] == label[-1]
        assert set(label[:-1]) == {IGNORED}


def test_distance_and_entropy_of_attention():
    near, even = torch.eye(8)[None, None], torch.full((1, 1, 8, 8), 0.125)
    assert spread(near) == pytest.approx((0.0, 0.0), abs=1e-5)
    distance, entropy = spread(even)
    assert distance == pytest.approx(2.625) and entropy == pytest.approx(2.0794, abs=1e-3)
