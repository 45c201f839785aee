"""Runs: their folders, experiment files, kept models, and what TensorBoard shows of them."""
