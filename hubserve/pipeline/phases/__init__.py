"""The phases of a job, one module each. Those of a search run in this order: search (with choose_winner), train, test, export,
profile, choose_front, publish. The others are of fine-tunings and of searches for a smaller network.

Each takes what the earlier ones returned, and leaves its result in the run folder atomically. A run that was killed calls all
of them again; those whose result is there return it.
"""
