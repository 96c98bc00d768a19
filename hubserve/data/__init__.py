"""Data sets: images in a training, a validation and a test part, and the batches that are made of them."""
