"""`suggest`, the sentence of an error message that names what a wrong name may have meant."""

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns a sentence for an error message: up to three names in `known` that are similar to `name`, or else all of them.

    Upper and lower case count as the same. The sentence is like "Did you mean a or b?", "Known: a, b." or "There is none.".
    """
    names = sorted(known)
    folded = {entry: entry.casefold() for entry in names}
    near = difflib.get_close_matches(name.casefold(), dict.fromkeys(folded.values()), n=3, cutoff=0.5)
    if near:
        nearest = [entry for match in near for entry in names if folded[entry] == match]
        return "Did you mean " + " or ".join(nearest[:3]) + "?"
    return "Known: " + ", ".join(names) + "." if names else "There is none."
