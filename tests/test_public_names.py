"""What `import hubserve` offers, and that its types hold in a user's own code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hubserve

USER_CODE = """
from __future__ import annotations

import hubserve
from hubserve.hub import MobileNetV3Space, get_space
from hubserve.space import Arch

space = get_space("NasBench201")
arch: Arch = space.random()
count: int = space.count()
model = MobileNetV3Space.load_searched_model("mobilenetv3-small-100")
models: list[str] = [stored.tag for stored in hubserve.store.list_models()]
hubserve.report_final_result(0.5)
reveal_type(model)
"""


def test_dir_lists_what_there_is():
    assert set(hubserve.__all__) == set(dir(hubserve))
    for name in hubserve.__all__:
        assert getattr(hubserve, name) is not None


def test_the_import_alone_is_light():
    code = "import sys, hubserve; assert not {'torch', 'bentoml', 'optuna', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_mypy_strict_passes_on_a_user_s_file(tmp_path):
    (tmp_path / "user.py").write_text(USER_CODE)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports",
        "silent",
        "--cache-dir",
        str(tmp_path / "cache"),
        "user.py",
    ]
    root = Path(hubserve.__file__).parent.parent
    ended = subprocess.run(
        command, cwd=tmp_path, env={"MYPYPATH": str(root), "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert 'Revealed type is "torch.nn.modules.module.Module"' in ended.stdout, ended.stdout + ended.stderr
    assert "error" not in ended.stdout, ended.stdout
