"""Fixtures of places that models are pushed to: moto's S3 and a small Hugging Face hub, both on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.loopback_hub import TOKEN, LoopbackHub, loopback_hub

BUCKET = "models"


@contextmanager
def loopback_s3() -> Iterator[str]:
    """The address of an S3 with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        s3_client(url).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        server.stop()


def s3_client(url: str):
    return boto3.client("s3", endpoint_url=url, aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")


def without_accounts(patch: pytest.MonkeyPatch, folder) -> None:
    """No account, proxy or setting of the machine that runs the tests."""
    for name in (
        "HUBSERVE_OFFLINE",
        "HUBSERVE_MIRROR",
        "HF_TOKEN",
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL",
        "HTTP_PROXY",
        "http_proxy",
    ):
        patch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", str(folder / "no-config"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "no-credentials"))
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # hf_xet would send to another service than the endpoint; these are read when huggingface_hub is imported.
    patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    patch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(folder / "no-token"))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    with loopback_s3() as url:
        yield url


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path) -> str:
    """The address of the S3, which this process has credentials for."""
    without_accounts(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    return s3_server


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[LoopbackHub]:
    """The hub, where this process is logged in as `me`."""
    without_accounts(monkeypatch, tmp_path)
    with loopback_hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found
