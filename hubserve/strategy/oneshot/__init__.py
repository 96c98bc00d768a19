"""One-shot strategies, which search a space by training one supernet; `hubserve.strategy` has them all."""

from hubserve.strategy.oneshot.extraction import Extraction, extract

__all__ = ["Extraction", "extract"]
