"""Defines what differs in searches by their kind of data: evaluator, test, and what the package says of inputs and outputs."""
