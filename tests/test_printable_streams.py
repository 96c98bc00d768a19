"""Everything prints, whatever the locale: as escapes where the encoding lacks a character."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = r"""
from hubserve.cli.exit_codes import CommandGroup
from hubserve.cli.output import print_json, print_table

app = CommandGroup()

@app.command()
def show(name: str):
    print_table("vert d'\u00e9t\u00e9", ("\u9752", ""), [(name, "\udcff")])
    print(name)
    print_json({name: "\u9752"})

app()
"""

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("locale", [ASCII, {"LC_ALL": "C.UTF-8"}, {"PYTHONIOENCODING": "latin-1"}])
def test_a_command_prints_every_text(locale):
    name = "d\u00e9j\u00e0 \u9752 \udcfe"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONIOENCODING"} | locale
    ran = subprocess.run([sys.executable, "-c", PROGRAM, name], env=environment, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    encoding = "ascii" if locale is ASCII else locale.get("PYTHONIOENCODING", "utf-8")
    text = ran.stdout.decode(encoding)
    document = json.loads(text[text.index("{") :])
    assert list(document.values()) == ["\u9752"]
    assert text.count(r"\udcff") == 1
