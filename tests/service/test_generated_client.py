"""A client that openapi-python-client generates from /docs.json classifies, by a Python that knows nothing of hubserve.

The generator wants an older typer than hubserve does, so that it is installed into an environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hubserve import store
from hubserve.service.engine import Engine
from tests.images import noise
from tests.stores import service_over, small_package, store_at

pytestmark = pytest.mark.slow

GENERATOR = "openapi-python-client>=0.25,<1"

PROGRAM = """
import base64, io, json, sys
from generated import AuthenticatedClient, Client
from generated.api.aliases import set_alias
from generated.api.classify import classify, embed
from generated.api.models import list_models
from generated.api.open_inference_protocol import model_metadata, version_metadata
from generated.models import AliasChange, ClassifyFilesFormImages, ErrorResponse, JsonImages
from generated.types import File

url, token, path = sys.argv[1:]
data = open(path, "rb").read()
client = AuthenticatedClient(base_url=url, token=token)
as_json = classify.sync(client=client, body=JsonImages(image=base64.b64encode(data).decode()), top_k=2)
as_form = classify.sync(client=client, body=ClassifyFilesFormImages(image=[File(io.BytesIO(data), "a.png")]))
as_body = classify.sync(client=client, body=File(io.BytesIO(data)))
alias = set_alias.sync("mine", client=client, body=AliasChange(model="small"))
refused = set_alias.sync("mine", client=Client(base_url=url), body=AliasChange(model="small"))
print(json.dumps({
    "labels": [answer.predictions[0].label for answer in (as_json, as_form, as_body)],
    "features": len(embed.sync(client=client, body=JsonImages(image=base64.b64encode(data).decode())).features),
    "models": [entry.tag for entry in list_models.sync(client=client)],
    "names": [model_metadata.sync("small", client=client)["name"], version_metadata.sync("small", "v1", client=client)["name"]],
    "alias": alias.name,
    "refused": isinstance(refused, ErrorResponse),
}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The Python of an environment with the generator; the test skips where it cannot be installed."""
    folder = tmp_path_factory.mktemp("generator")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", GENERATOR]
    installed = subprocess.run(command, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"{GENERATOR} cannot be installed here: {installed.stderr.strip()[-300:]}")
    return folder / "bin" / "python"


def test_it_classifies(python, tmp_path, monkeypatch):
    token = "secret-of-the-tests"
    monkeypatch.setenv("HUBSERVE_TOKEN", token)
    home = tmp_path / "bentoml"
    with store_at(home):
        store.publish(small_package().path, version="v1")
    (tmp_path / "image.png").write_bytes(noise())
    with service_over(home) as url:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        generator = [str(python.parent / "openapi-python-client"), "generate", "--meta", "none", "--output-path", "generated"]
        made = subprocess.run(
            [*generator, "--url", f"{url}/docs.json"], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stdout + made.stderr
        ran = subprocess.run(
            [str(python), "-c", PROGRAM, url, token, "image.png"], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
    assert ran.returncode == 0, ran.stderr
    best = Engine(small_package(), device="cpu").classify(noise()).predictions[0].label
    assert json.loads(ran.stdout) == {
        "labels": [best] * 3,
        "features": 32,
        "models": ["small:v1"],
        "names": ["small", "small"],
        "alias": "mine",
        "refused": True,
    }
