"""Experiments: a study that asks a strategy, evaluates and stores."""
