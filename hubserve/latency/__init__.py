"""How fast a network is on this machine, measured and predicted: profiles, their comparison, and lookup tables for searches."""

from hubserve.latency.arch_latency import MeasuredLatency, PredictedLatency

__all__ = ["MeasuredLatency", "PredictedLatency"]
