"""The routes, one module for what belongs together."""
