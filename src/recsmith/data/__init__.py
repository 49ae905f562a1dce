"""What is known: logs, their quality, splits, negatives."""
