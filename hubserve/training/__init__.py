"""Evaluators: what a search asks of one, those that train networks, and the training loop."""
