"""Torch building blocks: plain ints in, plain modules out."""
