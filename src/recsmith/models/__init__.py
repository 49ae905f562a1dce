"""One readable file per model; ``registry.py`` lists them."""
