"""Scores of archs in place of training: tabular benchmarks, which are tables of published scores, and zero-cost scores."""
