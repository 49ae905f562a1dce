"""Models that learn several things of a pair of a user and an item at once."""
