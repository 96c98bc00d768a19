"""`make_corpus`: makes the speech of a data set in a process of its own, with the same result each time.

In one process, what libespeak-ng says depends on what it said before, by a tenth of a millisecond.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hubserve.data.speech.espeak import MISSING, find_espeak, open_voice
from hubserve.data.speech.utterances import say_all, write_corpus
from hubserve.errors import DatasetError, MissingExtraError

REFUSED = 3
"""Exit code of the process after an error whose message is on stderr."""


def make_corpus(voice: str, texts: Mapping[str, Sequence[str]], folder: Path) -> None:
    """Writes the corpus of texts in parts, spoken by a voice of eSpeak NG, into an existing folder.

    Args:
        voice: Name of the voice, such as "en".
        texts: Texts of each part, by its name.
        folder: The folder.

    Raises:
        MissingExtraError: eSpeak NG is not installed.
        DatasetError: It has no such voice, or the process ended with an error.
    """
    if find_espeak() is None:
        raise MissingExtraError(MISSING)
    wanted = json.dumps({"voice": voice, "texts": {part: list(each) for part, each in texts.items()}, "folder": str(folder)})
    command = [sys.executable, "-m", "hubserve.data.speech.make_corpus"]
    done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DatasetError(lines[-1] if done.returncode == REFUSED else f"eSpeak NG failed to make the speech: {lines[-1]}")


def _main() -> int:
    wanted = json.loads(sys.stdin.read())
    try:
        with open_voice(wanted["voice"]) as voice:
            corpus = say_all(voice, wanted["texts"])
    except DatasetError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    write_corpus(corpus, Path(wanted["folder"]))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
