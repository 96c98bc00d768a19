"""The dashboard and the alert rules name metrics and labels that /metrics has; a real Prometheus finds data for each query."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hubserve import store
from tests.images import noise
from tests.service.conftest import ROOT, Server, free_port, start, stop
from tests.stores import service_over, small_package
from tests.waiting import until

FOLDER = ROOT / "scripts" / "deploy" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text())
RULES = yaml.safe_load((FOLDER / "prometheus-rules.yaml").read_text())["groups"][0]["rules"]
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
ALERTS = [rule["expr"] for rule in RULES]

PROMETHEUS = os.environ.get("HUBSERVE_TEST_PROMETHEUS") or shutil.which("prometheus")
"""A Prometheus, such as Debian's; `promtool` lies beside it."""


def names_and_labels(query: str) -> tuple[set[str], set[str]]:
    """The metrics of hubserve in a query, and the labels that it selects or groups by."""
    by = {label for group in re.findall(r"\bby \(([^)]*)\)", query) for label in re.split(r",\s*", group)}
    selected = {label for group in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", group)}
    return set(re.findall(r"\bhubserve_\w+", query)), by | selected


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, set[str]]:
    """The labels of each metric of a service that has classified an image, refused another, and dropped none."""
    with service_over(tmp_path_factory.mktemp("monitoring")) as url:
        store.publish(small_package().path, version="v1")
        assert httpx2.post(f"{url}/classify", content=noise(), timeout=30).status_code == 200
        assert httpx2.post(f"{url}/classify", content=b"no image", timeout=30).status_code == 415
        families = list(text_string_to_metric_families(generate_latest(REGISTRY).decode()))
    found: dict[str, set[str]] = {}
    for family in families:
        # A metric with labels has no sample before its first event.
        found.setdefault(f"{family.name}_total" if family.type == "counter" else family.name, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    found["hubserve_dropped_images_total"] |= {"step"}
    found["hubserve_refused_versions_total"] |= {"model"}
    return found


@pytest.mark.parametrize("query", [*QUERIES, *(alert for alert in ALERTS if not alert.startswith("up"))])
def test_a_query_names_what_there_is(query, measured):
    names, labels = names_and_labels(query)
    assert names
    for name in names:
        assert name in measured, f"/metrics has no {name}"
    assert labels <= set.union(*(measured[name] for name in names)), query


def test_the_choice_of_versions_is_a_label(measured):
    (choice,) = (entry for entry in DASHBOARD["templating"]["list"] if entry["name"] == "model")
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", choice["query"]).groups()
    assert label in measured[name]


def test_each_metric_of_a_version_is_on_the_dashboard(measured):
    shown = set().union(*(names_and_labels(query)[0] for query in QUERIES))
    wanted = {name for name in measured if name.startswith("hubserve_model_") and name.endswith(("_total", "_bucket"))}
    assert wanted <= shown


def test_panels_do_not_overlap():
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]}
    assert len(places) == len(DASHBOARD["panels"]) == len({panel["id"] for panel in DASHBOARD["panels"]})


@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus in PATH, and HUBSERVE_TEST_PROMETHEUS names none")
class TestWithPrometheus:
    @pytest.fixture(scope="class")
    def prometheus(self, tmp_path_factory) -> Iterator[str]:
        """Its address; it watches a real server that classifies."""
        folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
        server = Server(f"http://127.0.0.1:{port}", folder / "bentoml", folder / "server.log")
        server.home.mkdir()
        server.hubserve("publish", str(small_package().path))
        process = start([sys.executable, "-m", "hubserve", "serve", "--port", str(port)], server.home, server.log, server.url)
        try:
            with watching(folder, port) as url:
                for count in range(6):  # Over some scrapes, so that rates are known.
                    httpx2.post(f"{server.url}/classify", content=noise(seed=count)).raise_for_status()
                    httpx2.post(f"{server.url}/classify", content=b"no image")
                    before = scrapes(url)
                    until(lambda before=before: scrapes(url) > before)
                yield url
        finally:
            stop(process)

    @pytest.mark.slow
    @pytest.mark.parametrize("query", QUERIES)
    def test_each_query_of_the_dashboard_has_data(self, query, prometheus):
        asked = query.replace("$__rate_interval", "30s").replace("$model", ".*")
        found = answer(prometheus, asked)
        assert found["status"] == "success", found
        values = [float(series["value"][1]) for series in found["data"]["result"]]
        assert values, query
        assert any(value == value for value in values), f"only NaN: {query}"

    @pytest.mark.slow
    def test_prometheus_reads_the_rules(self, prometheus):
        rules = httpx2.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"][0]["rules"]
        assert [rule["name"] for rule in rules] == [rule["alert"] for rule in RULES]

    def test_promtool_checks_the_rules(self):
        promtool = str(Path(str(PROMETHEUS)).with_name("promtool"))
        ran = subprocess.run(
            [promtool, "check", "rules", FOLDER / "prometheus-rules.yaml"], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert f"{len(RULES)} rules found" in ran.stdout


@contextmanager
def watching(folder: Path, port: int) -> Iterator[str]:
    """The address of a Prometheus that asks a server at `port` for its metrics each half second."""
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "1s"},
        "rule_files": [str(FOLDER / "prometheus-rules.yaml")],
        "scrape_configs": [{"job_name": "hubserve", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    own = free_port()
    command = [str(PROMETHEUS), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{own}"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{own}"
    try:
        until(lambda: scrapes(url) > 0)
        yield url
    finally:
        stop(process)


def answer(url: str, query: str) -> dict:
    return httpx2.get(f"{url}/api/v1/query", params={"query": query}).json()


def scrapes(url: str) -> float:
    """How often the server was asked successfully; 0 as long as Prometheus does not answer."""
    try:
        found = answer(url, 'sum_over_time(up{job="hubserve"}[10m])')["data"]["result"]
    except httpx2.TransportError:
        return 0
    except (KeyError, ValueError):
        return 0
    return float(found[0]["value"][1]) if found else 0
