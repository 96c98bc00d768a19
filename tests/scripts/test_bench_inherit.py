"""scripts/bench inherit: subnets of all sizes, cells that are kept, and the figures of its report."""

from __future__ import annotations

import io
import itertools
import tarfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from tests.scripts.loaded_bench import loaded_bench

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def bench():
    with loaded_bench("inherit") as module:
        yield module


def test_the_report_has_tau_and_the_share_that_loses_nothing(bench, capsys):
    setup = bench.Setup(images=10, subnets=4, epochs=1, sandwich=1, batch_size=8)
    cells = []
    for kind, scores in (("inherited", (0.5, 0.6, 0.7, 0.9)), ("alone", (0.5, 0.65, 0.6, 0.8))):
        cells += [bench.Cell(kind, setup.digest(kind), 0, i, {}, 1e6 * i, score, 1.0) for i, score in enumerate(scores)]
    bench.Console(width=160).print(bench.report(cells))
    said = capsys.readouterr().out
    # Of six pairs of subnets, five are in the same order in both lists: tau = (5 - 1) / 6.
    assert "tau 0.67" in said
    assert "inherited >= alone: 75%" in said
    assert "tau 0.7 MISSED, share 60% met" in said


@pytest.mark.slow
def test_subnets_are_of_all_sizes(bench):
    archs = bench.by_size(6, pool=40)
    sizes = [macs for macs, _ in archs]
    assert sizes == sorted(sizes)
    assert archs[0][1] == bench.smallest_arch(bench.space())
    assert archs[-1][1] == bench.largest_arch(bench.space())
    ratios = [b / a for a, b in itertools.pairwise(sizes)]
    assert max(ratios) < 3 * min(ratios)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_goes_on_and_runs_no_cell_twice(bench, tmp_path, monkeypatch):
    """A whole bench on 80 images, with two subnets; killed in the training of the second one."""
    monkeypatch.setattr(bench, "by_size", lambda count: [(bench.macs(a), a) for a in (bench.smallest_arch(bench.space()),) * 2])
    archive, out = tmp_path / "cifar.tar.xz", tmp_path / "build" / "cells.jsonl"
    write_archive(archive)
    app = typer.Typer()
    app.command()(bench.main)
    options = [str(archive), "--subnets", "2", "--epochs", "1", "--images", "4", "--batch-size", "20", "--sandwich", "0"]
    whole, fit = bench.alone, []

    def killed(setup, data, arch, seed, number, out):
        fit.append(number)
        if len(fit) == 2:
            raise KeyboardInterrupt
        return whole(setup, data, arch, seed, number, out)

    monkeypatch.setattr(bench, "alone", killed)
    assert CliRunner().invoke(app, [*options, "--out", str(out)]).exit_code != 0
    first = out.read_text()
    assert len(first.splitlines()) == 3
    result = CliRunner().invoke(app, [*options, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert fit == [0, 1, 1]
    assert out.read_text().startswith(first)
    cells = [bench.Cell(**row) for row in bench.rows(out)]
    assert [(cell.kind, cell.subnet) for cell in cells] == [("inherited", 0), ("inherited", 1), ("alone", 0), ("alone", 1)]
    assert all(0 <= asdict(cell)["top1"] <= 1 for cell in cells)
    assert "inherited >= alone" in result.output


def write_archive(path: Path) -> None:
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w:xz") as archive:
        for name in CLASSES:
            for part, count in (("train", 6), ("test", 2)):
                for i in range(count):
                    file = io.BytesIO()
                    Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "JPEG")
                    entry = tarfile.TarInfo(f"{part}/{name}/{i:04}.jpg")
                    entry.size = file.tell()
                    file.seek(0)
                    archive.addfile(entry, file)
