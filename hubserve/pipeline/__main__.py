"""The process of a job: `python -m hubserve.pipeline RUN_FOLDER` runs it, as `hubserve.jobs.start` asks."""

import sys
from contextlib import suppress
from pathlib import Path

from hubserve.errors import HubserveError, StorageError
from hubserve.jobs import Run, open_run
from hubserve.jobs.progress_text import ProgressLines
from hubserve.pipeline import run_here
from hubserve.storage_faults import storage_error


def main(folder: Path) -> int:
    """Runs the job of a run folder and returns the exit code: 0 if it is done, 2 after an error, 130 if it was interrupted.

    How the job ended is also written to its status. Exceptions that are neither a `HubserveError` nor caused by a full or
    forbidden disk are raised.
    """
    try:
        run_here(open_run(folder), on_status=ProgressLines().write)
    except Exception as error:
        found = storage_error(error) or error
        if not isinstance(found, HubserveError):
            raise
        if isinstance(found, StorageError):
            Run(folder).write_reason(str(found))
        with suppress(OSError):  # The log is on the same disk, which may be full.
            print(f"{type(found).__name__}: {found}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
