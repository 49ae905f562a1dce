"""Models that read a history in its order and say what comes next."""
