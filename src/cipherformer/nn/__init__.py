"""Private-form modules."""
