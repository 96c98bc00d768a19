"""Packages: exported models on disk, read and verified. Imports no torch."""
