"""Measures, compares and predicts the latency of networks on this machine, by profiles and by lookup tables for searches."""

from hubserve.latency.arch_latency import MeasuredLatency, PredictedLatency

__all__ = ["MeasuredLatency", "PredictedLatency"]
