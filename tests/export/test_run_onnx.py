"""The program in every package runs where there is no PyTorch and no hubserve, and answers as we do."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hubserve.export import run_onnx
from hubserve.export.packaged_script import packaged_script
from hubserve.export.write_package import write_package
from hubserve.preprocess import Preprocess, decode_image, rgb_image
from hubserve.service.engine import Engine
from tests.image_kinds import image_kinds
from tests.images import noise, photo
from tests.stores import small_package, small_source

ALONE = ("numpy", "numpy.libs", "PIL", "pillow.libs", "onnxruntime")
"""Folders of site-packages that the program needs; the environment has these and nothing else."""


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    ours = Path(sysconfig.get_path("purelib"))
    for name in ALONE:
        if (ours / name).exists():
            (site / name).symlink_to(ours / name)
    return folder / "bin" / "python"


def test_in_an_environment_of_its_own(bare_python, tmp_path):
    """Its site-packages hold numpy, pillow and onnxruntime."""
    images = {"cat.jpg": photo("chelsea"), "noise.png": noise(50, seed=2)}
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    probe = "import importlib.util as u; print([n for n in ('torch', 'torchvision', 'hubserve', 'onnx') if u.find_spec(n)])"
    assert subprocess.run([bare_python, "-I", "-c", probe], capture_output=True, text=True, check=True).stdout == "[]\n"
    command = [bare_python, "-I", small_package().path / "run_onnx.py", *images, "--json", "--top", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    answers = json.loads(done.stdout)
    engine = Engine(small_package(), device="cpu")
    for name, data in images.items():
        expected = engine.classify(data, top_k=3).predictions
        assert [label for label, _ in answers[name]] == [p.label for p in expected]
        for (_, probability), p in zip(answers[name], expected, strict=True):
            assert probability == pytest.approx(p.probability, abs=0.02)
    text = subprocess.run([*command[:-3], "--top", "1"], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert text.splitlines()[0] == "cat.jpg"
    assert answers["cat.jpg"][0][0] in text.splitlines()[1]


@pytest.mark.slow
def test_under_an_ascii_locale_it_prints_escapes(tmp_path):
    labels = ("\u00e9t\u00e9", "\u9752", *map(str, range(5)))
    package = write_package(replace(small_source(), labels=labels), tmp_path / "p", formats=("onnx",))
    (tmp_path / "d\u00e9j\u00e0.png").write_bytes(noise(50, seed=2))
    ascii_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, package.path / "run_onnx.py", "d\u00e9j\u00e0.png", "--top", "7"]
    for options in ([], ["--json"]):
        ran = subprocess.run([*command, *options], capture_output=True, cwd=tmp_path, env={**os.environ, **ascii_locale})
        assert ran.returncode == 0, ran.stderr.decode()
        assert b"\\xe9t" in ran.stdout or b"\\u00e9t" in ran.stdout


@pytest.mark.parametrize(
    "size", [(451, 300), (300, 451), (36, 36), (33, 200), (40, 41), (3000, 1), (1, 3000), (2000, 97), (20_000, 36)]
)
@pytest.mark.parametrize("how", [{}, {"interpolation": "bicubic", "channels": "bgr", "scale": 1.0, "std": (1.0, 2.0, 57.0)}])
def test_prepares_exactly_as_the_reference(size, how):
    preprocess = Preprocess(input_size=32, resize=36, **how)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    expected = preprocess.reference(image)
    found = run_onnx.prepare(image, preprocess.model_dump())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_reads_files_of_every_kind_as_we_do(bare_python, tmp_path):
    """The packaged program in an environment without hubserve; its decoder is the source of ours."""
    for number, data in enumerate(image_kinds().values()):
        (tmp_path / f"{number}").write_bytes(data)
    read = (
        "import numpy as np, pathlib, run_onnx\n"
        f"for i in range({len(image_kinds())}):\n"
        "    np.save(f'{i}.npy', np.asarray(run_onnx.read_rgb_file(pathlib.Path(str(i)))))\n"
    )
    command = [bare_python, "-c", f"import sys; sys.path.insert(0, {str(small_package().path)!r})\n{read}"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for number, (name, data) in enumerate(image_kinds().items()):
        assert np.array_equal(np.load(tmp_path / f"{number}.npy"), np.asarray(decode_image(data))), name


def test_the_package_holds_this_program_with_the_decoder_in_it():
    text = (small_package().path / "run_onnx.py").read_text()
    assert text == packaged_script()
    assert "hubserve.preprocess" not in "".join(line for line in text.splitlines() if line.startswith(("import", "from")))
    theirs, ours = (
        {node.name: ast.dump(node) for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
        for source in (text, Path(rgb_image.__file__).read_text())
    )
    assert ours.items() <= theirs.items()
    assert ast.dump(ast.parse(Path(run_onnx.__file__).read_text()).body[-2]) == ast.dump(ast.parse(text).body[-2])
