"""Where parameters, metrics, tables and files of a run go: JSON lines, MLflow, Weights & Biases (extra ``track``)."""
