"""Makes the program `run_onnx.py` of a package: it decodes images by the very code by which training and the service do."""

import ast
from pathlib import Path

import hubserve.preprocess.rgb_image as rgb_image
from hubserve.package.package import EXAMPLE


def packaged_script() -> str:
    """Returns the source of `run_onnx.py` for a package, which imports nothing of hubserve.

    It is the module `hubserve.export.run_onnx`, in which the code of `hubserve.preprocess.rgb_image` replaces the statement
    that imports it.
    """
    script = Path(__file__).with_name(EXAMPLE).read_text("utf-8")
    statement = next(node for node in ast.parse(script).body if _imports(node, rgb_image.__name__))
    decoder = Path(rgb_image.__file__).read_text("utf-8")
    docstring = ast.parse(decoder).body[0]
    lines = script.splitlines(keepends=True)
    lines[statement.lineno - 1 : statement.end_lineno] = decoder.splitlines(keepends=True)[docstring.end_lineno :]
    return "".join(lines)


def _imports(node: ast.stmt, module: str) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == module
