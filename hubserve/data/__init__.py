"""Data sets with a training, a validation and a test part, and the batches that evaluators make of them."""
