"""Evaluators, which train and score the networks of a search, and the training loop that they use."""
