"""Export of frozen models: every format, its proof of parity with eager PyTorch, and the package on disk."""
