"""Models that learn no taste: the floor and the fallback."""
