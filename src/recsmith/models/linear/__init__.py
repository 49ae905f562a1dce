"""Linear item-to-item models."""
