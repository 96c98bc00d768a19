"""Reads, verifies and runs packages: exported models on disk. Torch is imported only for the formats that need it."""
