"""Lookup tables: the latency of any arch of a space, predicted from operations that were measured once."""
