"""The HTTP service: an engine without a web framework, and the BentoML application around it."""
