"""Lookup tables, which predict the latency of any arch of a space from the times of its operations, each measured once."""
