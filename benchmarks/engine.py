"""Times the CKKS engine, and with --peers other libraries at the same N and number of primes.

Every subject runs in a process of its own and checks its results against numpy before it is timed. Samples
of the subjects alternate, so that a noisy neighbour hits all of them; the median over all rounds counts.
`--peers --bootstrap` is the whole comparison, with what each row must reach; about twenty minutes.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console

from benchmarks import bars, bootstrap, report, tables
from benchmarks.peers.client import Runner, RunnerError
from benchmarks.peers.environments import Subject, own, peers
from benchmarks.sets import SETTINGS, Setting
from cipherformer.cli.output import print_table
from cipherformer.report import schema
from cipherformer.report.compare import suite_table
from cipherformer.report.machine import machine, today


@dataclass
class Run:
    """What a run of the benchmark found: records, and why cells are empty."""

    records: list[schema.BenchmarkRecord] = field(default_factory=list)
    reasons: dict[str, list[str]] = field(default_factory=dict)

    def why(self, subject: str, reason: str) -> None:
        """Notes a reason once."""
        known = self.reasons.setdefault(subject, [])
        if reason not in known:
            known.append(reason)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also time SEAL, OpenFHE and DESILO")
    parser.add_argument("--bootstrap", action="store_true", help="also refresh a ciphertext (15 GB)")
    parser.add_argument("--case", action="append", metavar="CASE", help="only this case, e.g. rotate-n15-l15")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records to FILE")
    parser.add_argument("--into", type=Path, action="append", metavar="FILE", help="update FILE's tables")
    parser.add_argument("--openfhe-python", metavar="PATH", help="a Python 3.10 that has openfhe and numpy")
    parser.add_argument("--threads", type=int, default=1, help="threads each subject may use (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all subjects (default 5)")
    parser.add_argument("--seconds", type=float, default=0.3, help="time for a case, subject and round")
    return parser.parse_args()


def selected(wanted: list[str] | None) -> list[tuple[Setting, tuple[str, ...]]]:
    """Settings with the operations asked for; SystemExit lists the cases if one is unknown."""
    known = {*bootstrap.CASES, *(s.case(o) for s in SETTINGS for o in s.operations)}
    unknown = sorted(set(wanted or ()) - known)
    if unknown:
        raise SystemExit(f"unknown case {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    chosen = [(s, tuple(o for o in s.operations if not wanted or s.case(o) in wanted)) for s in SETTINGS]
    return [(setting, operations) for setting, operations in chosen if operations]


def measure(
    setting: Setting,
    operations: tuple[str, ...],
    subjects: list[Subject],
    options: argparse.Namespace,
    run: Run,
) -> None:
    """Times the operations of one setting for all subjects, alternating."""
    runners: list[Runner] = []
    try:
        for subject in subjects:
            try:
                runners.append(Runner(subject, setting.to_dict(operations, options.threads), options.threads))
            except RunnerError as error:
                run.why(subject.name, str(error))
        for operation in operations:
            times: dict[str, list[float]] = {}
            for _ in range(options.rounds):
                for runner in (r for r in runners if operation in r.operations):
                    times.setdefault(runner.subject.name, []).extend(runner.time(operation, options.seconds))
            for runner in runners:
                name = runner.subject.name
                if operation in runner.missing:
                    run.why(name, runner.missing[operation])
                if name in times:
                    run.records.append(_record(setting, operation, runner, times[name], options.threads))
    finally:
        for runner in runners:
            runner.close()


def measure_bootstrap(case: str, subjects: list[Subject], options: argparse.Namespace, run: Run) -> None:
    """Refreshes one ciphertext with each subject that can, one after the other (the peers take 15 GB)."""
    for subject in subjects:
        try:
            if subject.name == "cipherformer":
                python = subject.python or sys.executable
                run.records += bootstrap.own_records(python, case, options.rounds)
            elif case == bootstrap.CASE:
                run.records += bootstrap.peer_records(subject, threads=2)
        except bootstrap.BootstrapError as error:
            run.why(subject.name, f"{case}: {error}")


def _record(
    setting: Setting, operation: str, runner: Runner, times: list[float], threads: int
) -> schema.BenchmarkRecord:
    parameters = {
        "log_n": setting.log_n,
        "limbs": setting.limbs,
        "samples": len(times),
        "fastest": min(times),
        **runner.parameters,
    }
    return schema.BenchmarkRecord(
        suite="engine", case=setting.case(operation), subject=runner.subject.name, version=runner.version,
        metric="seconds", value=median(times), unit="s", threads=threads, parameters=parameters,
        machine=machine(), date=today(),
    )  # fmt: skip


def main() -> None:
    options, run = arguments(), Run()
    console = Console(width=None if sys.stdout.isatty() else 120)
    subjects = [own()]
    if options.peers:
        for peer in peers(options.openfhe_python):
            if peer.python is None:
                run.why(peer.name, peer.why)
            else:
                subjects.append(peer)
    for setting, operations in selected(options.case):
        with console.status(f"N = 2^{setting.log_n}, {setting.limbs} primes"):
            measure(setting, operations, subjects, options, run)
    for case in bootstrap.CASES:
        if case in options.case if options.case else options.bootstrap:
            with console.status(case):
                measure_bootstrap(case, subjects, options, run)
    print_table(console, suite_table("engine", run.records))
    print_table(console, bars.table(run.records))
    for name, reasons in run.reasons.items():
        for reason in reasons:
            console.print(f"- {name}: {reason}", highlight=False)
    for line in report.roofline(run.records):
        console.print(line, highlight=False)
    if options.json:
        schema.write(options.json, run.records)
    for path in options.into or ():
        tables.update(path, run.records)


if __name__ == "__main__":
    main()
