"""Rows of texts and images as training data, from files, from folders of `datasets`, and by the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cipherformer.cli import main
from cipherformer.errors import DataError
from cipherformer.train import rows

pytestmark = pytest.mark.torch

TEXTS = ["good fine", "bad", "fine fine good", "bad bad", "good", "bad poor"]
LABELS = ["yes", "no", "yes", "no", "yes", "no"]
WORDS = {"<pad>": 0, "<eos>": 1, "<unk>": 2, "good": 3, "bad": 4, "fine": 5, "poor": 6}


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def write(path, suffix):
    kept = [{"sentence": t, "label": n} for t, n in zip(TEXTS, LABELS, strict=True)]
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in kept))
    elif suffix == ".parquet":
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_list(kept).to_parquet(path)
    else:
        mark = "\t" if suffix == ".tsv" else ","
        path.write_text(
            "\n".join([f"sentence{mark}label"] + [f"{r['sentence']}{mark}{r['label']}" for r in kept])
        )
    return path


@pytest.mark.parametrize("suffix", rows.SUFFIXES)
def test_every_kind_of_file_gives_the_same_texts(suffix, tmp_path, tokenizer):
    path = write(tmp_path / f"data{suffix}", suffix)
    assert rows.known(str(path))
    data = rows.from_rows(rows.read_rows(str(path)), tokenizer, length=3)
    assert (len(data.train), len(data.test)) == (5, 1)
    assert data.train.inputs[:3].tolist() == [[3, 5, 0], [4, 0, 0], [5, 5, 3]]
    assert data.train.mask is not None and data.train.mask[:2].tolist() == [[1, 1, 0], [1, 0, 0]]
    assert data.train.labels.tolist() == [1, 0, 1, 0, 1], "words are numbered in their order"


def test_parts_are_files_of_a_folder_and_hidden_labels_are_not_scored(tmp_path, tokenizer):
    for name, labels in (("train", (0, 1)), ("test", (-1, -1)), ("validation", (1, 1))):
        lines = [json.dumps({"question1": "good", "question2": "bad", "label": n}) for n in labels]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    data = rows.from_rows(rows.read_rows(str(tmp_path)), tokenizer, length=4)
    assert data.test.labels.tolist() == [1, 1]
    assert data.train.inputs[0].tolist() == [3, 4, 0, 0], "pairs are one text"


def test_texts_without_labels_are_windows(tokenizer):
    data = rows.from_rows({"train": {"text": TEXTS * 2}}, tokenizer, length=4)
    whole = [WORDS[w] for text in TEXTS * 2 for w in [*text.split(), "<eos>"]]
    assert data.train.inputs[0].tolist() == whole[:4] and data.train.labels[0].tolist() == whole[1:5]
    assert data.tokens and data.train.mask is None


def test_images_are_in_minus_one_to_one_with_channels_first():
    image = np.zeros((4, 5, 3), dtype=np.uint8)
    image[..., 1] = 255
    data = rows.from_rows({"train": {"img": [image] * 5, "label": [0, 1, 2, 0, 1]}}, None, length=1)
    assert data.train.inputs.shape == (4, 3, 4, 5)
    assert data.train.inputs[0].amax((1, 2)).tolist() == [-1.0, 1.0, -1.0]


def test_folders_of_datasets_and_names_on_the_hub(tmp_path, tokenizer, monkeypatch):
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_dict({"text": TEXTS, "label": [1, 0] * 3})
    both = datasets.DatasetDict({"train": part, "test": part.select(range(2))})
    both.save_to_disk(tmp_path / "saved")
    data = rows.from_rows(rows.read_rows(str(tmp_path / "saved")), tokenizer, length=3)
    assert (len(data.train), len(data.test)) == (6, 2)
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: asked.append(names) or both)
    again = rows.read_rows("hub:nyu-mll/glue:sst2")
    assert asked == [("nyu-mll/glue", "sst2")] and set(again) == {"train", "test"}


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "none"), ('{"text": "a"}\n{"other": 1}', "different"), ("{", "cannot read")],
)
def test_damaged_rows_are_refused(content, message, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        rows.read_rows(str(path))


def test_columns_that_do_not_fit_are_refused(tmp_path, tokenizer):
    with pytest.raises(DataError, match="no part"):
        rows.from_rows({"other": {}}, tokenizer, length=2)
    with pytest.raises(DataError, match="no column 'here'"):
        rows.from_rows({"train": {"text": ["a"]}}, tokenizer, length=2, names=rows.Names(("here",)))
    with pytest.raises(DataError, match="neither texts nor images"):
        rows.from_rows({"train": {"what": ["a"], "label": [0]}}, tokenizer, length=2)
    with pytest.raises(DataError, match="without labels"):
        rows.from_rows({"train": {"img": [np.zeros((2, 2), np.uint8)]}}, None, length=2)
    with pytest.raises(DataError, match="no data in this folder"):
        rows.read_rows(str(tmp_path))


def test_the_command_converts_a_saved_classifier_on_rows(tmp_path, tokenizer):
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=7, max_position_embeddings=8, num_labels=2, pad_token_id=0, **sizes)
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    lines = ["review,stars"] + [f"{t},{n}" for t, n in zip(TEXTS * 8, LABELS * 8, strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    out = tmp_path / "out"
    words = [
        "convert",
        str(tmp_path / "model"),
        "--data",
        str(tmp_path / "data.csv"),
        "--text-column",
        "review",
    ]
    words += ["--label-column", "stars", "--tokens", "6", "--out", str(out), "--epochs", "0.05", "--no-price"]
    result = CliRunner().invoke(main, [*words, "--recipe", "secformer"])
    assert result.exit_code == 0, (result.output, result.exception)
    report = json.loads((out / "report.json").read_text())
    assert report["after"]["count"] == 10, "a fifth of 48 rows is scored"
