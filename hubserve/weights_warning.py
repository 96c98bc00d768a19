"""`WeightsWarning`: the warning that a model may answer wrongly with the given weights, and the function that raises it."""

import sys
import warnings


class WeightsWarning(UserWarning):
    """Warning that a model may answer wrongly with the given weights: they may need other labels or another preprocessing.

    It is no error; the command line prints it on stderr.
    """


def warn_of_weights(message: str) -> None:
    """Warns with WeightsWarning; the place of the warning is the line outside of hubserve that asked for the model."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("hubserve."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, WeightsWarning, stacklevel=level)
