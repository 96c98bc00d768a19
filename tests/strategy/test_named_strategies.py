"""Which arguments a strategy, known by name or the user's own, takes."""

from hubserve.strategy.named_strategies import takes_seed


class Seeded:
    def __init__(self, *, seed=None):
        self.seed = seed


def positional_only(seed, /):
    return seed


def test_who_takes_the_keyword_seed():
    assert takes_seed(Seeded)
    assert takes_seed(lambda **arguments: arguments)
    assert not takes_seed(positional_only)
    assert not takes_seed(lambda *seed: seed)
