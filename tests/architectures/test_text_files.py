"""A text file as the data of `emulate`, by the tokenizer in the model's folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from architectures import zoo
from click.testing import CliRunner

from cipherformer.capture import pretrained
from cipherformer.cli import main
from cipherformer.errors import DataError, ModelError

pytestmark = pytest.mark.torch
WORDS = ("the", "cat", "sat", "on", "mat", "and", "dog", "ran")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of one layer with a tokenizer of ten words."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    place = tmp_path_factory.mktemp("worded")
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(("[UNK]", "[PAD]", *WORDS))}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(place)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(**sizes, vocab_size=10, architectures=["LlamaForCausalLM"])
    config.save_pretrained(place)
    return place


def test_windows_of_a_text(folder: Path):
    text = "the cat sat on the mat and the dog ran on"
    found = pretrained.tokenized(folder, text, length=3, count=5)
    np.testing.assert_array_equal(found, [[2, 3, 4, 5], [2, 6, 7, 2]])
    assert pretrained.tokenized(folder, text, length=3, count=1).shape == (1, 4)
    with pytest.raises(DataError, match="11 tokens"):
        pretrained.tokenized(folder, text, length=20, count=1)


def test_a_folder_without_a_tokenizer_says_so(tmp_path: Path):
    with pytest.raises(ModelError, match="no tokenizer"):
        pretrained.tokenized(tmp_path, "the cat", length=1, count=1)


def test_the_command_takes_a_text(folder: Path, tmp_path: Path):
    text, out = tmp_path / "text.txt", tmp_path / "out.json"
    text.write_text("the cat sat on the mat and the dog ran " * 3)
    command = ["emulate", str(folder), "--data", str(text), "--tokens", "6", "--limit", "2"]
    done = CliRunner().invoke(main, [*command, "--json", str(out)])
    assert done.exit_code == 0, done.output
    perplexity = json.loads(out.read_text())["perplexity"]
    assert perplexity["emulated"] == pytest.approx(perplexity["float"], rel=1e-2)


def test_tokens_for_several_inputs_are_refused():
    loaded = pretrained.wrapped(zoo.model("t5"), "t5", tokens=4)
    with pytest.raises(DataError, match="several inputs"):
        pretrained.embedded(loaded, np.zeros((1, 4), dtype=np.int64))
