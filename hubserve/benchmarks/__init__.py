"""Tabular benchmarks: scores of archs that are looked up instead of trained."""
