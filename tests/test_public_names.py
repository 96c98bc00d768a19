"""What `import hubserve` offers, and that its types hold in a user's own code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hubserve
from tests.test_readme import BLOCKS

USER_CODE = """
from __future__ import annotations

from pathlib import Path

import numpy as np

import hubserve
from hubserve.client import AsyncClient, Client, ClassifiedImage
from hubserve.hub import MobileNetV3Space, get_space
from hubserve.space import Arch

space = get_space("NasBench201")
arch: Arch = space.random()
count: int = space.count()
model = MobileNetV3Space.load_searched_model("mobilenetv3-small-100")
models: list[str] = [stored.tag for stored in hubserve.store.list_models()]
hubserve.report_final_result(0.5)
classifier = hubserve.load(Path("lite0"), device="auto")
label: str = classifier(np.zeros((9, 9, 3), np.uint8))[0].label
labels: list[str] = [found[0].label for found in classifier(sorted(Path().glob("*.jpg")))]
prepared: list[str] = [found[0].label for found in classifier(classifier.preprocess(b"")[None])]
widths: int = classifier.features(["a.jpg", "b.jpg"]).shape[1]

async def ask(client: AsyncClient) -> str:
    answer: ClassifiedImage = await client.classify(Path("a.jpg"), model="lite0")
    return answer["predictions"][0]["label"] + Client("http://127.0.0.1").classify("a.jpg")["model"]

reveal_type(model)
"""


def test_dir_lists_what_there_is():
    assert set(hubserve.__all__) == set(dir(hubserve))
    for name in hubserve.__all__:
        assert getattr(hubserve, name) is not None


def test_the_import_alone_is_light():
    code = "import sys, hubserve; assert not {'torch', 'bentoml', 'optuna', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.long
def test_mypy_strict_passes_on_a_user_s_file_and_on_the_readme(tmp_path):
    (tmp_path / "user.py").write_text(USER_CODE)
    (tmp_path / "readme.py").write_text("\n".join(BLOCKS))
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
        "readme.py",
    ]
    root = Path(hubserve.__file__).parent.parent
    ended = subprocess.run(
        command, cwd=tmp_path, env={"MYPYPATH": str(root), "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert 'Revealed type is "torch.nn.modules.module.Module"' in ended.stdout, ended.stdout + ended.stderr
    assert "Success: no issues found in 2 source files" in ended.stdout, ended.stdout
