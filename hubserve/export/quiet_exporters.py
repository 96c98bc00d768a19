"""Silences the libraries that write formats: they print their progress, and warn about their own internals."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

NOISY = ("torch.onnx", "onnxscript", "torch.utils._pytree", "torch.export", "torchao", "executorch", "litert_torch", "jax")
"""Names of their loggers."""


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Context manager in whose block warnings, standard output, and log records below ERROR of exporters are dropped."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
