"""From a log and parameters to a judged bundle."""
