"""One-shot strategies, which search a space by training one supernet; import them from `hubserve.strategy`."""

from hubserve.strategy.oneshot.extraction import Extraction, extract

__all__ = ["Extraction", "extract"]
