"""The accuracy of the trained winner on the test part."""

from hubserve.jobs import Run
from hubserve.pipeline.checkpoint import checkpoint
from hubserve.pipeline.phases.train import TrainedWinner
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.status_writer import StatusWriter

TEST = "test.json"


def test(resolved: ResolvedJob, trained: TrainedWinner, run: Run, status: StatusWriter) -> float:
    """Accuracy, in [0, 1], on the test part, which nothing else of the job uses. The checkpoint is test.json."""

    def measure() -> dict[str, float]:
        status.begin("test", "measuring the accuracy on the test part")
        return {"test_acc": resolved.test_evaluator.validate(trained.model)["val_acc"]}

    test_acc = float(checkpoint(run.path / TEST, measure)["test_acc"])
    status.write(test_acc=test_acc)
    return test_acc
