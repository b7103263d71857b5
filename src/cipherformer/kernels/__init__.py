"""Slot-level algorithms."""
