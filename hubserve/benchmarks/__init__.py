"""Tabular benchmarks: scores of archs that are looked up in a table instead of measured by training."""
