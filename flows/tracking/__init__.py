"""Trackers: Weights & Biases, MLflow and Trackio receive what TensorBoard shows."""
