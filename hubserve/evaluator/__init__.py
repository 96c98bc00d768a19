"""Evaluators: how good a model is."""
