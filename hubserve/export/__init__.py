"""Exports frozen models: writes each format, compares it with eager PyTorch, and writes the package folder."""
