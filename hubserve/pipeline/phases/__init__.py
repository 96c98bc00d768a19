"""The phases of a job, one module each, in this order: search, choose_winner, train, test, export, profile, publish.

Each takes what the earlier ones returned, and leaves its result in the run folder atomically. A run that was killed calls all
of them again; those whose result is there return it.
"""
