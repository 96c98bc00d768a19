"""The HTTP service: `engine` classifies images without a web framework, and `app` is the BentoML application around it."""
