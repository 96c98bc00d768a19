"""Data sets of images, texts and speech with a training, a validation and a test part, and loaders that make batches."""
