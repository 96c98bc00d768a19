"""How fast a network is on this machine, measured and predicted: profiles, their comparison, and lookup tables for searches."""
