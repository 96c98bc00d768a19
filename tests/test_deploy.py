"""The files for others' machines: bentos, BentoML's settings, Kubernetes and KServe say only what there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from bentoml._internal.bento.build_config import BentoBuildConfig

from hubserve.service.middleware import HEALTH
from hubserve.service.settings import PREFIX, ServiceSettings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "scripts" / "deploy"
GPU = "onnxruntime-gpu[cuda,cudnn]"
CONFIG = """
import json
from bentoml._internal.configuration.containers import BentoMLContainer
from hubserve.service.app import HubServe
HubServe.inject_config()
print(json.dumps(BentoMLContainer.config.services["hubserve"].get()))
"""


def read(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text()))


def containers() -> dict[str, dict]:
    """Name of the file -> its container."""
    deployment = next(part for part in read(DEPLOY / "kubernetes.yaml") if part["kind"] == "Deployment")
    (inference,) = read(DEPLOY / "kserve.yaml")
    return {
        "kubernetes": deployment["spec"]["template"]["spec"]["containers"][0],
        "kserve": inference["spec"]["predictor"]["containers"][0],
    }


class TestBentofiles:
    def test_the_dependencies_are_those_of_the_project(self):
        (bentofile,) = read(ROOT / "bentofile.yaml")
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert bentofile["python"]["packages"] == project["dependencies"]
        assert f">={bentofile['docker']['python_version']}" == project["requires-python"]

    def test_that_for_a_gpu_differs_in_one_package(self):
        (cpu,), (gpu,) = read(ROOT / "bentofile.yaml"), read(DEPLOY / "bentofile.gpu.yaml")
        assert gpu["python"].pop("packages") == [
            package.replace("onnxruntime-gpu", GPU) for package in cpu["python"].pop("packages")
        ]
        assert gpu == cpu
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert extras["cuda"] == [GPU]

    @pytest.mark.parametrize("path", [ROOT / "bentofile.yaml", DEPLOY / "bentofile.gpu.yaml"], ids=lambda path: path.name)
    def test_bentoml_reads_them(self, path):
        """It refuses what it does not know. The script must be there, and may be run."""
        docker = BentoBuildConfig.from_file(str(path)).docker
        assert (docker.distro, docker.python_version) == ("debian", "3.11")
        assert os.access(ROOT / docker.setup_script, os.X_OK)


def test_bentoml_takes_its_settings(tmp_path):
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path), "BENTOML_CONFIG": str(DEPLOY / "bentoml.yaml")}
    ran = subprocess.run([sys.executable, "-c", CONFIG], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    ((service, wanted),) = read(DEPLOY / "bentoml.yaml")[0]["services"].items()
    assert service == "hubserve"
    assert (told["workers"], told["resources"]) == (wanted["workers"], wanted["resources"])
    assert told["traffic"]["timeout"] == wanted["traffic"]["timeout"]


@pytest.mark.parametrize("name", containers())
class TestContainers:
    def test_settings_are_ours(self, name):
        names = [variable["name"] for variable in containers()[name]["env"]]
        assert {n.removeprefix(PREFIX).lower() for n in names} <= set(ServiceSettings.model_fields)
        assert all(n.startswith(PREFIX) for n in names)

    def test_the_token_comes_from_the_secret_that_the_first_line_makes(self, name):
        (token,) = [v for v in containers()[name]["env"] if v["name"] == "HUBSERVE_TOKEN"]
        assert token["valueFrom"] == {"secretKeyRef": {"name": "hubserve", "key": "token"}}
        first = (DEPLOY / f"{name}.yaml").read_text().splitlines()[0]
        assert first.startswith("# kubectl create secret generic hubserve --from-literal=token=")

    def test_probes_and_ports_are_there(self, name):
        container = containers()[name]
        (port,) = [port["containerPort"] for port in container["ports"]]
        for probe in ("readinessProbe", "livenessProbe"):
            if probe in container:
                asked = container[probe]["httpGet"]
                assert asked["port"] == port
                assert asked["path"] in HEALTH | {"/v2/health/ready", "/v2/health/live"}

    def test_the_grace_period_is_longer_than_the_drain(self, name):
        drain = next(float(v["value"]) for v in containers()[name]["env"] if v["name"] == "HUBSERVE_DRAIN_SECONDS")
        # Kubernetes gives thirty seconds unless told otherwise.
        grace = {
            "kubernetes": read(DEPLOY / "kubernetes.yaml")[0]["spec"]["template"]["spec"].get("terminationGracePeriodSeconds")
        }
        assert drain < (grace.get(name) or 30)


def test_the_service_and_the_autoscaler_mean_the_deployment():
    deployment, service, scaler = read(DEPLOY / "kubernetes.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert service["spec"]["ports"][0]["targetPort"] == containers()["kubernetes"]["ports"][0]["containerPort"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_the_page_names_files_that_there_are():
    words = (ROOT / "docs" / "deploy.md").read_text().replace("`", " ").replace("(", " ").split()
    named = {word.rstrip(",.:;)") for word in words if word.startswith("scripts/deploy/")}
    assert named == {f"scripts/deploy/{path.name}" for path in DEPLOY.iterdir()} - {"scripts/deploy/prepare-image"}
    assert all((ROOT / name).is_file() for name in named)
