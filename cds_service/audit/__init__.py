"""What was shown and what became of it: journal, feedback, overrides, metrics, statistics."""
