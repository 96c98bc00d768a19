"""The process of a job: `python -m hubserve.pipeline RUN_FOLDER` runs it, as `hubserve.jobs.start` asks."""

import sys
from pathlib import Path

from hubserve.errors import HubserveError
from hubserve.jobs import open_run
from hubserve.jobs.progress_text import ProgressLines
from hubserve.pipeline import run_here


def main(folder: Path) -> int:
    """Runs the job in a run folder; returns the exit code. Its status says how it ended, this output goes to its log."""
    try:
        run_here(open_run(folder), on_status=ProgressLines().write)
    except HubserveError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
