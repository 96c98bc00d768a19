"""Tabular benchmarks: tables of the published scores of archs, used in place of training."""
