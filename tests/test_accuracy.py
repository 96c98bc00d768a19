"""Accuracy: the counts are those of the answers, whoever gives them."""

from __future__ import annotations

import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from hubserve import store
from hubserve.accuracy import LocalClassifier, evaluate
from hubserve.accuracy_from_logits import accuracy_report
from hubserve.cards.labels import labels
from hubserve.data.image_folder import LabelledImages, labelled_images
from hubserve.errors import DatasetError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.http_classifiers import HttpClassifier
from hubserve.hub import load_card
from hubserve.hub.registry import load_model
from hubserve.package.predictions import softmax
from hubserve.preprocess import decode_image
from tests.images import noise, photo
from tests.service.conftest import free_port
from tests.stores import service_over, small_package

SEVEN = tuple(f"kind {i}" for i in range(7))
NAMES = ("chelsea", "coffee", "astronaut", "rocket", "cat")


def rankings(package, files):
    """All classes of each image, best first: one image at a time, by PyTorch, without the code under test."""
    model = EagerRunner(rebuild_model(package))
    prepared = (package.manifest.preprocess.reference(decode_image(path.read_bytes()))[None] for path in files)
    return [np.argsort(-model(batch)[0]).tolist() for batch in prepared]


@pytest.fixture
def files(tmp_path):
    contents = [photo(name) for name in NAMES] + [noise(seed=i) for i in range(6)]
    paths = [tmp_path / f"{i:02}.jpg" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@pytest.fixture(scope="module")
def small():
    return small_package()


def classifier(package, form="torchscript", **options):
    return LocalClassifier(package.runner(form), package.manifest.preprocess, **options)


def judge(classifier, items, **options):
    given = {"labels": small_package().labels, "dataset": "images"} | options
    images = LabelledImages(tuple(items), "label", Path("/nosuch"))
    return evaluate(classifier, images, model="small", backend="torchscript", **given)


def best_five(answers):
    """The best five classes of each image by its logits; None of an unreadable one."""
    return [None if logits is None else np.argsort(-logits, kind="stable")[:5].tolist() for logits in answers]


class TestCounting:
    RANKS = (0, 0, 0, 0, 1, 2, 4, 4, 5, 6, 5)
    """Where the right class of each image shall be in the model's own order."""

    @pytest.fixture
    def items(self, small, files):
        return [(path, best[rank]) for path, best, rank in zip(files, rankings(small, files), self.RANKS, strict=True)]

    @pytest.mark.parametrize("batch_size", [1, 3, 11, 100])
    def test_hits_whatever_the_batch(self, small, items, batch_size):
        report = judge(classifier(small), items, batch_size=batch_size)
        assert (report.images, report.top1_hits, report.top5_hits) == (11, 4, 8)
        assert report.top1 == pytest.approx(100 * 4 / 11)
        assert report.top5 == pytest.approx(100 * 8 / 11)
        assert (report.model, report.backend, report.rule, report.unreadable) == ("small", "torchscript", "label", ())
        assert report.seconds > 0

    def test_progress_adds_up(self, small, items):
        steps = []
        judge(classifier(small), items, batch_size=4, advance=steps.append)
        assert steps == [4, 4, 3]

    def test_the_order_of_images_does_not_matter(self, small, items):
        forwards, backwards = judge(classifier(small), items), judge(classifier(small), reversed(items))
        assert (forwards.top1_hits, forwards.top5_hits) == (backwards.top1_hits, backwards.top5_hits)

    def test_of_fewer_than_five_classes_the_best_five_are_all(self, small, files):
        def two_classes(batch):
            return np.tile(np.float32([0, 1]), (len(batch), 1))

        items = [(path, i % 2) for i, path in enumerate(files)]
        report = judge(LocalClassifier(two_classes, small.manifest.preprocess), items, labels=("a", "b"))
        assert (report.top1_hits, report.top5_hits) == (5, 11)


def test_the_report_is_that_of_the_logits(small, files):
    """The one of the test phase, for the same logits; files are named relative to the folder where they are in it."""
    items = [(path, i % 7) for i, path in enumerate(files)]
    images = LabelledImages(tuple(items), "label", files[0].parent)
    options = {"model": "small", "backend": "onnx", "dataset": "mine", "temperature": 1.7, "labels": small.labels}
    found = evaluate(classifier(small), images, **options)
    logits = np.stack(classifier(small)(files))
    names = [path.name for path in files]
    expected = accuracy_report(logits, np.arange(11) % 7, small.labels, names, dataset="mine", temperature=1.7)
    assert found.accuracy == expected
    assert found.accuracy.top1 == found.top1 / 100
    assert judge(classifier(small), items).accuracy.worst[0].file in map(str, files)


class TestLocalClassifier:
    def test_the_best_five_best_first(self, small, files):
        assert best_five(classifier(small)(files)) == [best[:5] for best in rankings(small, files)]

    @pytest.mark.parametrize("workers", [1, 5])
    def test_answers_keep_their_places(self, small, files, tmp_path, workers):
        (tmp_path / "text.jpg").write_text("no image")
        mixed = [tmp_path / "text.jpg", files[1], files[0], tmp_path / "text.jpg", files[2]]
        best = rankings(small, files)
        answers = best_five(classifier(small, workers=workers)(mixed))
        assert answers == [None, best[1][:5], best[0][:5], None, best[2][:5]]


class TestUnreadable:
    @pytest.fixture
    def spoiled(self, files):
        """The first three: text, nothing, half an image."""
        files[0].write_text("no image")
        files[1].write_bytes(b"")
        files[2].write_bytes(files[2].read_bytes()[:500])
        return files

    def test_are_named_and_not_judged(self, small, spoiled):
        report = judge(classifier(small), [(path, 0) for path in spoiled], batch_size=2)
        assert report.unreadable == tuple(str(path) for path in spoiled[:3])
        assert report.images == len(spoiled) - 3
        right = [best for best in rankings(small, spoiled[3:]) if best[0] == 0]
        assert report.top1_hits == len(right)

    def test_nothing_else_there(self, small, spoiled):
        with pytest.raises(DatasetError, match=r"none of the 3 files is a readable image, the first: .*00\.jpg"):
            judge(classifier(small), [(path, 0) for path in spoiled[:3]])

    def test_a_file_that_is_gone(self, small, files):
        files[0].unlink()
        report = judge(classifier(small), [(path, 0) for path in files])
        assert report.unreadable == (str(files[0]),)


class TestInterval:
    @pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 11), (11, 11), (3, 11), (10, 11)])
    def test_its_ends_are_where_the_share_is_that_many_deviations_away(self, small, files, hits, n):
        """Wilson's definition: both ends p solve |share - p| = z * sqrt(p * (1 - p) / n)."""
        best = rankings(small, files[:n])
        items = [(path, ranks[0] if i < hits else ranks[1]) for i, (path, ranks) in enumerate(zip(files, best, strict=False))]
        report = judge(classifier(small), items)
        assert (report.top1_hits, report.images) == (hits, n)
        low, high = report.top1_interval
        assert low <= report.top1 + 1e-9
        assert report.top1 - 1e-9 <= high
        assert low < high
        for end in (low, high):
            p = min(max(end / 100, 0.0), 1.0)
            assert p == pytest.approx(end / 100, abs=1e-12)
            assert abs(hits / n - p) == pytest.approx(NormalDist().inv_cdf(0.975) * math.sqrt(p * (1 - p) / n), abs=1e-6)


class TestHttpClassifier:
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory):
        home = tmp_path_factory.mktemp("bentoml")
        with service_over(home) as url:
            store.publish(small_package().path)
            yield url

    def test_the_same_answers_as_here(self, small, files, url):
        here = classifier(small, "onnx")(files)
        for there in (HttpClassifier(url, labels=SEVEN, model="small")(files), HttpClassifier(f"{url}/", labels=SEVEN)(files)):
            for ours, theirs in zip(here, there, strict=True):
                assert softmax(theirs) == pytest.approx(softmax(ours.astype(np.float64)), rel=1e-6)

    def test_the_same_report_as_here(self, small, files, url):
        files[3].write_text("no image")
        items = [(path, i % 7) for i, path in enumerate(files)]
        here = judge(classifier(small, "onnx"), items).model_dump()
        there = judge(HttpClassifier(url, labels=SEVEN, model="small"), items).model_dump()
        assert there["unreadable"] == (str(files[3]),)
        ours, theirs = here.pop("accuracy"), there.pop("accuracy")
        assert there | {"seconds": here["seconds"]} == here
        worst = [[image.pop("probability") for image in report["worst"]] for report in (ours, theirs)]
        assert worst[1] == pytest.approx(worst[0], rel=1e-5)
        errors = [report.pop("calibration_error") for report in (ours, theirs)]
        assert errors[1] == pytest.approx(errors[0], rel=1e-5)
        assert theirs == ours

    def test_the_temperature_is_in_the_answers_already(self, small, files, url):
        """Without and with it, the calibration is that of logits: those of a model whose answers are divided by 2."""
        items = [(path, i % 7) for i, path in enumerate(files)]
        here = judge(
            LocalClassifier(lambda batch: 2 * small.runner("onnx")(batch), small.manifest.preprocess), items, temperature=2.0
        )
        there = judge(HttpClassifier(url, labels=SEVEN, temperature=2.0), items, temperature=2.0)
        assert there.accuracy.calibration_error == pytest.approx(here.accuracy.calibration_error, rel=1e-5)
        plain = here.accuracy.unscaled_calibration_error
        assert there.accuracy.unscaled_calibration_error == pytest.approx(plain, rel=1e-5)

    def test_a_model_of_other_classes(self, files, url):
        for names, message in (
            (SEVEN[:6], "with other classes: (it has more of them|class 6 is 'kind 6')"),
            (SEVEN[::-1], r"with other classes: class \d is 'kind \d'"),
            ((*SEVEN, "kind 7"), "top_k = 8 is not between 1 and 7"),
        ):
            with pytest.raises(DatasetError, match=message):
                HttpClassifier(url, labels=names)(files)

    def test_an_empty_file_is_unreadable_there_too(self, files, url):
        files[1].write_bytes(b"")
        assert HttpClassifier(url, labels=SEVEN)(files)[1] is None

    def test_a_model_that_is_not_there(self, files, url):
        with pytest.raises(DatasetError, match=r"/classify answers 404: .*Did you mean small\?"):
            HttpClassifier(url, labels=SEVEN, model="smal")(files)

    def test_nobody_answers(self, files):
        with pytest.raises(DatasetError, match=r"127\.0\.0\.1:\d+/classify does not answer: ConnectError"):
            HttpClassifier(f"http://127.0.0.1:{free_port()}", labels=SEVEN)(files)

    def test_someone_else_answers(self, files):
        with other_server() as url, pytest.raises(DatasetError, match=r"/classify answers 503: come back later"):
            HttpClassifier(url, labels=SEVEN)(files)


class other_server:  # noqa: N801 - used as a statement
    """Says 503 to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b"come back later")

        def log_message(self, *_):
            pass

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.server.serve_forever).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.slow
def test_lite0_is_right_on_224_of_250_images(shared):
    """With the real weights, as PyTorch runs them, over ImageNet's own classes."""
    card = load_card("efficientnet-lite0")
    images = labelled_images(shared / "data" / "imagenet_samples", labels("imagenet-1k"))
    lite0 = LocalClassifier(EagerRunner(load_model(card)), card.preprocess)
    names = labels("imagenet-1k")
    report = evaluate(lite0, images, labels=names, model="efficientnet-lite0", backend="eager", dataset="samples")
    assert (report.images, report.rule, report.unreadable) == (250, "wnid", ())
    assert abs(report.top1_hits - 224) <= 1
    assert abs(report.top5_hits - 246) <= 1
