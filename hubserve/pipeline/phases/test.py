"""Phase "test": measures the accuracy of the trained network on the test part."""

from collections.abc import Callable

from hubserve.jobs import Run
from hubserve.pipeline.checkpoint import checkpoint
from hubserve.pipeline.status_writer import StatusWriter

TEST = "test.json"


def test(measure: Callable[[], float], run: Run, status: StatusWriter) -> float:
    """Returns the accuracy on the test part, in [0, 1], and writes it to the status; the checkpoint is test.json.

    Args:
        measure: Function that measures the accuracy; called only if there is no checkpoint.
        run: The run.
        status: Writer of the run's status.
    """

    def begin_and_measure() -> dict[str, float]:
        status.begin("test", "measuring the accuracy on the test part")
        return {"test_acc": measure()}

    test_acc = float(checkpoint(run.path / TEST, begin_and_measure)["test_acc"])
    status.write(test_acc=test_acc)
    return test_acc
