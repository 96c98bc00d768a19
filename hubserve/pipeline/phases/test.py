"""The accuracy of the trained network on the test part."""

from collections.abc import Callable

from hubserve.jobs import Run
from hubserve.pipeline.checkpoint import checkpoint
from hubserve.pipeline.status_writer import StatusWriter

TEST = "test.json"


def test(measure: Callable[[], float], run: Run, status: StatusWriter) -> float:
    """Accuracy, in [0, 1], on the test part, which nothing else of the job uses. The checkpoint is test.json.

    Args:
        measure: Measures the accuracy.
        run: The run.
        status: Its status.
    """

    def begin_and_measure() -> dict[str, float]:
        status.begin("test", "measuring the accuracy on the test part")
        return {"test_acc": measure()}

    test_acc = float(checkpoint(run.path / TEST, begin_and_measure)["test_acc"])
    status.write(test_acc=test_acc)
    return test_acc
