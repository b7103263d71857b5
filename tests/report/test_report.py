"""Records, tables and pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cipherformer.errors import DataError, FormatError
from cipherformer.report.compare import compare
from cipherformer.report.machine import machine, today
from cipherformer.report.plot import plot_breakdown
from cipherformer.report.schema import BenchmarkRecord, DemoRecord, breakdown, read, replace_cases, write
from cipherformer.report.table import (
    Table,
    breakdown_table,
    demo_table,
    images_table,
    show_bytes,
    show_seconds,
    summary_table,
)

TRACE = [
    {"layer": "block.attention", "node": "a", "primitive": "rotation", "calls": 4, "seconds": 1.0},
    {"layer": "head", "node": "b", "primitive": "rescale", "calls": 2, "seconds": 0.5},
    {"layer": "block.attention", "node": "c", "primitive": "rotation", "calls": 2, "seconds": 3.0},
]
DEMO = DemoRecord(
    version="0.1.0",
    date="2026-01-01",
    machine={"cores": 2},
    threads=2,
    plan={"levels": 22},
    accuracy_private=0.98,
    accuracy_baseline=0.985,
    agreement=0.5,
    max_logit_error=1e-4,
    rms_logit_error=5e-5,
    precision_bits=16.5,
    seconds_per_image=5.5,
    seconds_server_per_image=5.0,
    seconds_total=150.0,
    security_bits=128,
    bytes_up=12_000_000,
    bytes_down=1_000_000,
    key_bytes=2_500_000_000,
    peak_memory_client_bytes=800_000_000,
    peak_memory_server_bytes=7_000_000_000,
    images=[
        {
            "index": 0,
            "label": 3,
            "encrypted": 3,
            "plaintext": 3,
            "max_error": 1e-4,
            "seconds": 5.0,
            "logits": [],
        },
        {
            "index": 1,
            "label": 3,
            "encrypted": 3,
            "plaintext": 8,
            "max_error": 1e-4,
            "seconds": 6.0,
            "logits": [],
        },
    ],
    breakdown=breakdown(TRACE, runs=2),
)


def bench(subject: str, value: float) -> BenchmarkRecord:
    return BenchmarkRecord(
        suite="engine",
        case="rotate-n15-l15",
        subject=subject,
        version="1",
        metric="seconds",
        value=value,
        unit="s",
        threads=1,
        parameters={},
        machine={},
        date="2026-01-01",
    )


def test_a_breakdown_sums_by_layer_and_primitive() -> None:
    assert breakdown(TRACE, runs=2) == [
        {"layer": "block.attention", "primitive": "rotation", "calls": 3, "seconds": 2.0},
        {"layer": "head", "primitive": "rescale", "calls": 1, "seconds": 0.25},
    ]


def test_records_come_back(tmp_path) -> None:
    write(tmp_path / "demo.json", DEMO)
    assert read(tmp_path / "demo.json") == DEMO
    write(tmp_path / "bench.json", [bench("cipherformer", 0.01), bench("peer", 0.05)])
    assert read(tmp_path / "bench.json") == [bench("cipherformer", 0.01), bench("peer", 0.05)]


def test_records_of_other_cases_stay(tmp_path) -> None:
    path = tmp_path / "records.json"
    first, second = (replace(bench("cipherformer", 1.0), case=case) for case in "ab")
    replace_cases(path, [first, second])
    newer = replace(second, value=3.0)
    replace_cases(path, [newer])
    assert read(path) == [first, newer]
    write(path, DEMO)
    with pytest.raises(FormatError, match="demo"):
        replace_cases(path, [newer])


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("agreement"),
        lambda r: r.update(extra=1),
        lambda r: r.update(agreement="all"),
        dict.clear,
    ],
)
def test_a_bad_record_is_refused(tmp_path, change) -> None:
    path = tmp_path / "demo.json"
    write(path, DEMO)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(FormatError):
        read(path)


@pytest.mark.parametrize("text", ["", "nonsense", "3", '[{"suite": 1}]', "[3]"])
def test_another_file_is_refused(tmp_path, text) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(FormatError):
        read(path)


def test_tables_show_what_the_record_says() -> None:
    images = images_table(DEMO.images)
    assert images.rows[0][:5] == ("0", "3", "3", "3", "yes") and images.rows[1][4] == "NO"
    table = breakdown_table(DEMO.breakdown)
    assert table.columns == ("layer", ">rotation", ">rescale", ">all")
    assert table.rows == (("block.attention", "2000", "", "2000"), ("head", "", "250", "250"))
    assert table.footer == ("all", "2000", "250", "2250")
    values = dict(demo_table(DEMO).rows)
    assert values["accuracy, private network"] == "98.00%" and values["security"] == "128 bits"
    assert values["sent, received for one image"] == "12.0 MB, 1.00 MB"
    plan = summary_table("Plan", {"levels": 22, "key_bytes": 2_500_000_000, "operations": {"rotation": 1234}})
    assert plan.rows == (
        ("levels", "22"),
        ("size of the evaluation keys", "2.50 GB"),
        ("operations: rotation", "1,234"),
    )


def test_markdown_is_aligned_and_escaped() -> None:
    text = Table("T", ("name", ">n"), (("a|b", "1"),), ("sum", "1")).to_markdown()
    assert text == "**T**\n\n| name | n |\n| --- | --: |\n| a\\|b | 1 |\n| sum | 1 |\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.50 kB"), (2.5e7, "25.0 MB"), (3e9, "3.00 GB")]
)
def test_sizes(count, text) -> None:
    assert show_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(2e-5, "20.0 us"), (0.0034, "3.40 ms"), (5.6, "5.60 s"), (125, "2 min 5 s")]
)
def test_durations(seconds, text) -> None:
    assert show_seconds(seconds) == text


def test_benchmarks_are_compared_with_ratios(tmp_path) -> None:
    write(tmp_path / "a.json", [bench("cipherformer", 0.01), bench("peer", 0.05)])
    write(tmp_path / "demo.json", DEMO)
    write(tmp_path / "demo2.json", replace(DEMO, agreement=1.0))
    demos, engine = compare([tmp_path / "a.json", tmp_path / "demo.json", tmp_path / "demo2.json"])
    assert engine.title == "Benchmark engine: seconds"
    assert engine.columns == ("case", ">cipherformer", ">peer", ">peer / ours")
    assert engine.rows == (("rotate-n15-l15", "10.00 ms", "50.00 ms", "5.00"),)
    assert ("agreement", "0.5", "1") in demos.rows
    write(tmp_path / "empty.json", [])
    with pytest.raises(DataError):
        compare([tmp_path / "empty.json"])


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_is_drawn(tmp_path, ending, magic) -> None:
    path = tmp_path / "sub" / f"plot.{ending}"
    many = [
        {"layer": f"layer{n % 3}", "primitive": f"p{n}", "calls": 1, "seconds": 0.1 * n + 0.1}
        for n in range(12)
    ]
    plot_breakdown(many, path, title="Server time")
    assert path.read_bytes().startswith(magic) and path.stat().st_size > 5000


def test_nothing_to_draw_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(DataError):
        plot_breakdown([], tmp_path / "x.png", title="")
    with pytest.raises(DataError):
        plot_breakdown(TRACE, tmp_path / "x.txt", title="")


def test_the_machine_names_no_host() -> None:
    import platform

    facts = machine()
    assert facts["cores"] >= 1 and facts["memory_gib"] >= 1
    assert platform.node() not in json.dumps(facts)
    assert len(today()) == 10


def test_cheap_primitives_are_shown_together() -> None:
    many = [{"layer": "a", "primitive": f"p{n}", "calls": 1, "seconds": 1.0 + n} for n in range(12)]
    table = breakdown_table(many)
    assert table.columns[1:] == (">p11", ">p10", ">p9", ">p8", ">p7", ">p6", ">other", ">all")
    assert table.rows[0][-2:] == ("21000", "78000")
