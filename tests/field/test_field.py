"""Programs that were reported from use: each makes its own inputs, and prints RIGHT where the behaviour it asks for holds."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.marks import graded

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

SLOW = (
    "a5_silently_left_out",
    "b3_valid_ignored",
    "c1_truncated_jpeg",
    "d1_empty_test_part",
    "e1_last_batch_of_one",
    "f3_class_name_with_line_break",
    "g1_wordnet_names",
    "h1_strategy_argument_1e-2",
    "i5_nan_measure_meets_constraint",
    "j4_answers_depend_on_neighbours",
    "k7_packaged_script_float_tiff",
    "l3_v2_gzip",
    "m5_gauge_after_a_crash",
    "n1_cached_weights_are_believed",
    "o1_retraining_begins_anew",
    "p6_eval_of_a_guarded_service",
)
"""Programs that take over 3 s, one of each letter, that is, of each kind of fault; sorted."""

LONG = (
    "a1_appledouble",
    "a2_thumbnail_folders",
    "a3_empty_class",
    "b1_train_test_capital",
    "b4_one_class",
    "b5_one_level_too_high",
    "d2_resume_leaks",
    "f1_class_name_not_utf8",
    "g3_numeric_names",
    "h2_space_setting_1e-5",
    "i1_numpy_candidates",
    "i3_space_changed_then_resumed",
    "j1_tied_weights",
    "j3_published_and_never_served",
    "j6_output_is_a_tuple",
    "j7_squeeze",
    "k6_packaged_script_differs",
    "l1_v2_null_parameters",
    "l5_data_uri",
    "l6_mistyped_parameter",
    "m1_read_only_store",
    "m3_failed_start_wipes_metrics",
    "m6_telemetry",
    "m8_affinity_of_executor",
    "m9_every_log_line_twice",
    "n3_checkpoint_of_dataparallel",
    "o2_full_disk",
    "p1_ascii_locale_json",
    "p3_no_home",
    "p4_store_is_a_file",
    "p5_predict_with_one_bad_file",
    "p8_clock_was_ahead_once",
)
"""The others that take over 3 s. Tests beside the modules hold what they check; `pytest -m long tests/field` runs them."""

QUICK = (
    "k1_float_tiff_with_nan",
    "k3_png_with_damaged_exif",
    "k5_transparent_16_bit_grey",
    "k8_jpeg_without_end_marker",
    "m7_cpu_quota",
)
"""Programs that take less."""

NAMESPACES = frozenset({"m1", "m2", "m7", "o2", "o3", "p3"})
"""Programs that mount a file system in namespaces of their own, by `unshare`."""


@pytest.mark.parametrize("name", graded((*QUICK, *SLOW, *LONG), quick=QUICK, slow=SLOW))
def test_program(name, tmp_path):
    if name[:2] in NAMESPACES and not _may_unshare():
        pytest.skip("this machine does not allow user and mount namespaces")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CASE_PORT": str(_free_port_pair()), "TMPDIR": str(tmp_path)}
    for variable in [variable for variable in environment if variable.startswith("HUBSERVE_")]:
        del environment[variable]
    command = [sys.executable, str(HERE / f"{name}.py")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=280)
    said = ran.stdout + ran.stderr[-2000:]
    assert re.search("^(RIGHT|WRONG): ", ran.stdout, re.MULTILINE), said
    assert re.search("^RIGHT: ", ran.stdout, re.MULTILINE), said
    assert ran.returncode == 0, said


def test_each_program_is_listed():
    assert {path.stem for path in HERE.glob("[a-z][0-9]_*.py")} == {*QUICK, *SLOW, *LONG}


def _free_port_pair() -> int:
    """A free port whose next one is free too."""
    while True:
        with ExitStack() as held:
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            if port == 65535:
                continue
            second = held.enter_context(socket.socket())
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def _may_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0
