"""`seeded`: a context manager that seeds the random number generators of PyTorch and restores them afterwards."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def seeded(seed: int, *, deterministic: bool = False) -> Iterator[None]:
    """Context manager that seeds torch's random number generators and restores their state at its end.

    Args:
        seed: Seed of torch's generators on the CPU and all GPUs.
        deterministic: Whether torch refuses operations whose results may differ from run to run in the block. False keeps the
            present setting of torch.
    """
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(deterministic or before)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
