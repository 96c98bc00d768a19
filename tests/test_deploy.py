"""The files for others' machines: bentos, BentoML's settings, Kubernetes and KServe say only what there is."""

from __future__ import annotations

import json
import os
import shutil
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


class TestServingImage:
    def test_its_requirements_are_those_of_the_project_that_it_has(self):
        lines = (DEPLOY / "serving" / "requirements.txt").read_text().splitlines()
        wanted = [line for line in lines if not line.startswith("#")]
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        # The build without CUDA, on every platform.
        assert set(wanted) - set(project) == {"onnxruntime>=1.22"}
        named = {line.split(">")[0].split(";")[0].split("[")[0] for line in wanted}
        assert not named & {"torch", "torchvision", "onnx", "onnxscript", "scipy", "optuna", "loky", "onnxruntime-gpu"}

    def test_what_it_copies_is_there(self):
        lines = (DEPLOY / "serving" / "Containerfile").read_text().splitlines()
        copied = [part for line in lines if line.startswith("COPY ") for part in line.split()[1:-1]]
        assert copied
        assert all((ROOT / part).exists() for part in copied)
        assert os.access(DEPLOY / "serving" / "start", os.X_OK)


OVERLAYS = sorted((ROOT / "scripts" / "kustomize").iterdir())


class TestOverlays:
    @pytest.fixture
    def kustomize(self):
        """Renders an overlay into its parts."""
        tools = (["kubectl", "kustomize"], ["kustomize", "build"])
        tool = next((command for command in tools if shutil.which(command[0])), None)
        if tool is None:
            pytest.skip("neither kubectl nor kustomize is here: the overlays are not rendered")

        def rendered(overlay: Path) -> list[dict]:
            ran = subprocess.run([*tool, str(overlay)], capture_output=True, text=True)
            assert ran.returncode == 0, ran.stderr
            return list(yaml.safe_load_all(ran.stdout))

        return rendered

    @pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
    def test_they_render_and_are_valid(self, kustomize, overlay):
        parts = kustomize(overlay)
        deployments = [part for part in parts if part["kind"] == "Deployment"]
        assert "hubserve" in {part["metadata"]["name"] for part in deployments}
        for part in deployments:
            (container,) = part["spec"]["template"]["spec"]["containers"]
            names = [variable["name"] for variable in container["env"]]
            ours = {name.removeprefix(PREFIX).lower() for name in names if name.startswith(PREFIX)} - {"pull"}
            assert ours <= set(ServiceSettings.model_fields)
            mounts = {mount["name"] for mount in container.get("volumeMounts", ())}
            assert mounts == {volume["name"] for volume in part["spec"]["template"]["spec"].get("volumes", ())}
        validate(parts)

    def test_the_canary_gets_a_quarter_of_the_pods_of_the_service(self, kustomize):
        parts = kustomize(ROOT / "scripts" / "kustomize" / "canary")
        assert not [part for part in parts if part["kind"] == "HorizontalPodAutoscaler"]
        deployments = [part["spec"] for part in parts if part["kind"] == "Deployment"]
        (service,) = [part["spec"] for part in parts if part["kind"] == "Service"]
        assert sorted(spec["replicas"] for spec in deployments) == [1, 3]
        selectors = [spec["selector"]["matchLabels"] for spec in deployments]
        assert selectors[0] != selectors[1]
        for spec in deployments:
            labels = spec["template"]["metadata"]["labels"]
            assert spec["selector"]["matchLabels"].items() <= labels.items()
            assert service["selector"].items() <= labels.items()
        # But for what makes it a canary it is the base's.
        first, second = (spec["template"]["spec"] for spec in deployments)
        for spec in (first, second):
            del spec["containers"][0]["image"]
        assert first == second

    def test_the_base_is_valid(self):
        validate(read(DEPLOY / "kubernetes.yaml"))


def validate(parts: list[dict]) -> None:
    """Holds Kubernetes objects to its own schemas, if the package with them is here."""
    schemas = pytest.importorskip("kubernetes_validate")
    for part in parts:
        schemas.validate(part, "1.32", strict=True)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_kserve_reads_its_file(tmp_path):
    """By the models of KServe's own package, whose dependencies are too many for the environment of the tests."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    install = [python, "-m", "pip", "install", "-q", "kserve>=0.15"]
    if subprocess.run(install, env=environment, capture_output=True).returncode:
        pytest.skip("the package kserve cannot be installed here")
    ran = subprocess.run([python, "-c", KSERVE, str(DEPLOY / "kserve.yaml")], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "V1beta1PredictorSpec" in ran.stdout
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((DEPLOY / "kserve.yaml").read_text().replace("minReplicas", "minReplica"))
    ran = subprocess.run([python, "-c", KSERVE, str(wrong)], env=environment, capture_output=True, text=True)
    assert "V1beta1PredictorSpec has no minReplica" in ran.stderr


KSERVE = """
import sys, kserve, yaml

PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float)}
seen = set()

def check(value, kind, place):
    model = getattr(kserve, kind, None)
    if kind.startswith("list["):
        for i, one in enumerate(value):
            check(one, kind[5:-1], f"{place}[{i}]")
    elif kind in PLAIN:
        assert isinstance(value, PLAIN[kind]), f"{place}: {value!r} is no {kind}"
    elif model is not None:
        seen.add(kind)
        names = {theirs: ours for ours, theirs in model.attribute_map.items()}
        for key, inner in value.items():
            assert key in names, f"{place}: {kind} has no {key}"
            check(inner, model.openapi_types[names[key]], f"{place}.{key}")

with open(sys.argv[1]) as file:
    check(yaml.safe_load(file), "V1beta1InferenceService", "")
print(sorted(seen))
"""
"""Holds the keys and plain values of a file to the attributes and types of KServe's models, but not Kubernetes' own ones."""


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
    # Those of monitoring/ are named in docs/operating.md.
    found = [*DEPLOY.iterdir(), *(DEPLOY / "serving").iterdir()]
    files = {path.relative_to(ROOT).as_posix() for path in found if path.is_file()}
    assert named == files - {f"scripts/deploy/{name}" for name in ("prepare-image", "kustomization.yaml")}
    assert all((ROOT / name).is_file() for name in named)
