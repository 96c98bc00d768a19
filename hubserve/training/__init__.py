"""Evaluators that train networks, and the training loop."""
