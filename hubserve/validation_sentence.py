"""Says in one sentence what is wrong with data that pydantic refused, for the messages of our errors."""

from pydantic import ValidationError

MOST = 100
"""Most characters of a key's path and of a value in the sentence: both may come from a file of somebody else."""


def first_mistake(error: ValidationError, *, whole: str = "", show_value: bool = False) -> str:
    """Returns the first mistake that pydantic found, as "path.of.key: what is wrong".

    Args:
        error: Error that pydantic raised.
        whole: What stands for the path where the data as a whole is wrong; empty leaves the path out.
        show_value: Whether the value follows the path, as "path.of.key = value: what is wrong". Not for what may be secret.
    """
    first = error.errors(include_url=False, include_context=False, include_input=show_value)[0]
    where = ".".join(map(str, first["loc"]))[:MOST] or whole
    if where and show_value:
        where += f" = {_shortened(first['input'])}"
    return f"{where}: {first['msg']}" if where else first["msg"]


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."
