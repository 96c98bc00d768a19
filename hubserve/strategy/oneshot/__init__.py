"""One-shot strategies, which search a space by training one supernet; import them from `hubserve.strategy`."""

from hubserve.strategy.oneshot.extract_subnet import Extraction, extract

__all__ = ["Extraction", "extract"]
