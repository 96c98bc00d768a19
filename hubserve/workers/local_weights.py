"""Program that prints the names of the pre-searched models whose weights are on this machine, as a JSON list.

python -m hubserve.workers.local_weights

Nothing is downloaded. Files are compared with their hashes, so it takes seconds.
"""

import json
import os

from hubserve.cards.card import list_cards, load_card
from hubserve.hub.weights_availability import on_this_machine


def local_names() -> list[str]:
    """Returns the names of the pre-searched models whose weights are on this machine, sorted."""
    return [name for name in sorted(list_cards()) if on_this_machine(load_card(name).weights)]


if __name__ == "__main__":
    # The lowest priority, so that requests to the service are not slowed down.
    os.nice(19)
    print(json.dumps(local_names()))
