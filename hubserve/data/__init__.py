"""Image data sets with a training, a validation and a test part, and the loaders that make batches of them."""
