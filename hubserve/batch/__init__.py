"""Offline classification of many images: `predict --out` writes a row for each image, and goes on after a kill."""
