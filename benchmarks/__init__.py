"""Measurements: each program is run as `python -m benchmarks.NAME` and writes a list of records."""
