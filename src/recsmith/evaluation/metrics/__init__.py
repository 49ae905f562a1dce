"""What a list or a prediction is worth: one definition per metric, written out in docs/notation.md."""
