"""Damaged bytes for every reader of untrusted data: `python -m fuzz` for Python, `native.cpp` for C++."""
