"""Trackers: Weights & Biases, MLflow and Trackio are told what TensorBoard is told."""
