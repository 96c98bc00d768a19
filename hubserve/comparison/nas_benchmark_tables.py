"""`named_table`, which reads the published tables NAS-Bench-201, NAS-Bench-101 and NAS-Bench-Macro."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hubserve.benchmarks.arch_keys import digits_key, nasbench101_key, nasbench201_key
from hubserve.benchmarks.nasbench101_file import read_nasbench101
from hubserve.benchmarks.nasbench201_file import read_nasbench201
from hubserve.benchmarks.score_table import Table, csv_records, read_csv, read_json
from hubserve.comparison.benchmark_table import BenchmarkTable, Scores, table_of_rows
from hubserve.comparison.table_files import table_file
from hubserve.comparison.table_space import TableSpace
from hubserve.errors import EvaluatorError
from hubserve.hub.nasbench101 import NasBench101
from hubserve.hub.nasbench201 import NasBench201
from hubserve.similar_names import suggest
from hubserve.space import Arch, ModelSpace

MACRO_LAYERS = 8
MACRO_BLOCKS = ("identity", "mb3_k3", "mb6_k5")
"""What a layer of NAS-Bench-Macro may be, in the order of its digits: nothing, or an inverted bottleneck with the expansion
ratio and the kernel size that its name says."""

MACRO_URL = (
    "https://raw.githubusercontent.com/xiusu/NAS-Bench-Macro/61a2bfc2ca0dce04d0997e6cf498047c27d6acf2/data/"
    "nas-bench-macro_cifar10.json"
)
MACRO_SHA256 = "686dee8363cc21cca8c1f321ad5749454f2d9b9ca5972682e137e539bc522297"

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
"""Data sets of NAS-Bench-201."""

SMALL_COLUMNS = {"cifar10": "c10", "cifar100": "c100", "ImageNet16-120": "in16"}
"""Beginning of the names of the columns of a data set in the small table, such as c100_val_12ep."""


@dataclass(frozen=True)
class TableOptions:
    """What to read of a published table.

    Attributes:
        file: Path or URL of the file; None downloads the published one of NAS-Bench-Macro, and is an error for other tables.
        sha256: Expected SHA-256 of `file`, or its first digits, at least 8; a URL needs it. None does not check the file.
        dataset: Data set of NAS-Bench-201: one of `DATASETS`.
        epochs: Number of epochs of the trainings; None takes 12 for NAS-Bench-201 and 108 for NAS-Bench-101. NAS-Bench-Macro
            does not use it.
        drive: Columns that drive in place of the usual ones (see `named_table`); None takes the usual ones.
        judge: Column that judges in place of the usual one (see `named_table`); None takes the usual one.
        minimize: Column of a second objective, which is minimized; None for one objective.
        lower_is_better: Whether lower values of the columns named by `drive` and `judge` are better.
        join: Path of a CSV file of this machine with more columns for the archs; None without one. It is matched by its first
            column with a CSV table, by its column "arch" with a JSON table, and not used with official files (.pth, .tfrecord).
        trusted: Whether the official file of NAS-Bench-201 may hold classes whose code is run when it is read.
    """

    file: str | None = None
    sha256: str | None = None
    dataset: str = "cifar100"
    epochs: int | None = None
    drive: tuple[str, ...] | None = None
    judge: str | None = None
    minimize: str | None = None
    lower_is_better: bool = False
    join: Path | None = None
    trusted: bool = False


@dataclass(frozen=True)
class KeyInSpace:
    """Function that returns the key of an arch's row by one of the functions of `benchmarks.arch_keys`.

    Attributes:
        space: Space of the archs.
        key: The function.
    """

    space: ModelSpace
    key: Callable[[ModelSpace, Arch], str]

    def __call__(self, arch: Arch) -> str:
        """Returns the key of `arch`."""
        return self.key(self.space, arch)


def named_table(name: str, options: TableOptions) -> BenchmarkTable:
    """Reads a published table.

    NasBench201 is the official file (.pth), a table written from it (.json), or a CSV file with the 12-epoch accuracies in the
    columns arch, c10_val_12ep, c10_test_12ep, c100_..., in16_...; the validation accuracy drives and the test accuracy judges.
    For CIFAR-10 of the official file, the drive is that of the training on half of the training images, as usual.

    NasBench101 is the official file (.tfrecord) or a table written from it (.json). One of its three runs drives, and the mean
    of their test accuracies judges.

    NasBenchMacro is its JSON file. It has no validation accuracy: one of its three runs drives, and the mean of all judges.

    Args:
        name: One of `NAMED_TABLES`.
        options: What to read of it.

    Raises:
        EvaluatorError: There is no table of that name, its file is not given, cannot be read or has another SHA-256, a column
            or data set does not exist, or a score is no finite number.
        StorageError: A downloaded file cannot be written.
    """
    if name not in NAMED_TABLES:
        raise EvaluatorError(f"there is no table {name!r}. {suggest(name, NAMED_TABLES)}")
    return NAMED_TABLES[name](options)


def _nasbench201(options: TableOptions) -> BenchmarkTable:
    near = {name.lower(): name for name in DATASETS}
    dataset = near.get(options.dataset.lower())
    if dataset is None:
        raise EvaluatorError(f"NAS-Bench-201 has no data set {options.dataset!r}. {suggest(options.dataset, DATASETS)}")
    path, epochs = _file(options, "NasBench201", "NAS-Bench-201-v1_1-096897.pth"), options.epochs or 12
    official = path.suffix == ".pth"
    table = read_nasbench201(path, trusted=options.trusted) if official else _json_or_csv(path, options.join)
    if any(column.startswith(f"{dataset}/") for column in table.columns):
        halves = "cifar10-valid" if dataset == "cifar10" else dataset
        test = "ori-test" if dataset == "cifar10" else "x-test"
        drive, judge = f"{halves}/x-valid@{epochs}", f"{dataset}/{test}@{epochs}"
    else:
        drive, judge = (f"{SMALL_COLUMNS[dataset]}_{split}_{epochs}ep" for split in ("val", "test"))
    space = NasBench201()
    scores = _scores(table, options, (drive,), judge)
    return table_of_rows(f"NasBench201 {dataset}", space, KeyInSpace(space, nasbench201_key), table.rows, scores)


def _nasbench101(options: TableOptions) -> BenchmarkTable:
    path, epochs = _file(options, "NasBench101", "nasbench_only108.tfrecord"), options.epochs or 108
    table = read_nasbench101(path) if path.suffix == ".tfrecord" else _json_or_csv(path, options.join)
    space = NasBench101()
    scores = _scores(table, options, (f"val_{epochs}",), f"test_{epochs}")
    return table_of_rows("NasBench101", space, KeyInSpace(space, nasbench101_key), table.rows, scores)


def _nasbench_macro(options: TableOptions) -> BenchmarkTable:
    path = table_file(MACRO_URL, MACRO_SHA256) if options.file is None else table_file(options.file, options.sha256)
    table = _json_or_csv(path, options.join)
    space = TableSpace(tuple((f"layer{i}", MACRO_BLOCKS) for i in range(1, MACRO_LAYERS + 1)))
    scores = _scores(table, options, ("test_acc",), "mean_acc")
    return table_of_rows("NasBenchMacro", space, KeyInSpace(space, digits_key), table.rows, scores)


NAMED_TABLES: Mapping[str, Callable[[TableOptions], BenchmarkTable]] = {
    "NasBench201": _nasbench201,
    "NasBench101": _nasbench101,
    "NasBenchMacro": _nasbench_macro,
}
"""The published tables, by name."""


def _file(options: TableOptions, name: str, published: str) -> Path:
    if options.file is None:
        raise EvaluatorError(
            f"{name} needs its file: {published} as it was published, or another one that the documentation names; give its "
            "path, or its URL and SHA-256"
        )
    return table_file(options.file, options.sha256)


def _json_or_csv(path: Path, join: Path | None) -> Table:
    """Reads a JSON file, or a CSV file whose column "arch" has the keys; adds the columns of the CSV file `join`, if any."""
    if path.suffix == ".json":
        return read_json(path) if join is None else read_json(path).joined(read_csv(join))
    if join is None:
        return read_csv(path)
    key = next(iter(csv_records(join)[0]))
    joined = read_csv(path, key=key).joined(read_csv(join, key=key))
    return joined if key == "arch" else joined.keyed_by("arch")


def _scores(table: Table, options: TableOptions, drive: Sequence[str], judge: str) -> Scores:
    scores = Scores(options.drive or tuple(drive), options.judge or judge, options.minimize, options.lower_is_better)
    for column in scores.columns:
        if column not in table.columns:
            raise EvaluatorError(f"{table.source} has no column {column!r}. {suggest(column, table.columns)}")
    return scores
