"""The text of three tiny graphs, captured and lowered. To accept a change: see `regenerate.py`."""

from __future__ import annotations

import pytest
from models import SHAPES
from regenerate import FOLDER, OPERATIONS, operations, texts

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", SHAPES)
def test_text_is_golden(name: str):
    for file, text in texts(name).items():
        assert text == (FOLDER / file).read_text(), f"{file} differs: run tests/golden/regenerate.py"


def test_the_page_of_operations_is_that_of_the_table():
    assert operations() == OPERATIONS.read_text()
