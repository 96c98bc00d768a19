"""Shared by the cases: throw-away homes, small pictures, jobs, a server. Run a case with the project's Python: it prints RIGHT or WRONG."""
import atexit, contextlib, io, json, os, shutil, subprocess, sys, tempfile, time, urllib.error, urllib.request
import numpy as np
from PIL import Image

TOP = tempfile.mkdtemp(prefix="case.")
atexit.register(shutil.rmtree, TOP, ignore_errors=True)
for name in ("HOME", "BENTOML_HOME", "HUBSERVE_HOME"):
    os.environ[name] = os.path.join(TOP, name.lower())
    os.makedirs(os.environ[name], exist_ok=True)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
PORT = int(os.environ.get("CASE_PORT", "3718"))
BASE = f"http://127.0.0.1:{PORT}"
TOKEN = "secret-token-1"


def path(*parts):
    return os.path.join(TOP, *parts)


def picture(hue, seed, size=40):
    values = np.random.default_rng(seed).integers(0, 60, (size, size, 3))
    values[:, :, hue % 3] += 120
    return Image.fromarray(values.clip(0, 255).astype("uint8"))


def jpeg(hue=0, seed=0, size=40):
    buffer = io.BytesIO()
    picture(hue, seed, size).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def folder(root, names=("red", "green", "blue"), count=24):
    """A folder for each name (str or bytes) with small pictures that their colour tells apart."""
    root = os.fsencode(root)
    for hue, name in enumerate(names):
        there = os.path.join(root, os.fsencode(name))
        os.makedirs(there, exist_ok=True)
        for i in range(count):
            with open(os.path.join(there, b"p%03d.jpg" % i), "wb") as file:
                file.write(jpeg(hue, 100 * hue + i))


def job(where, **changes):
    """Writes job.yaml and returns its path. `changes` replace top-level keys, as YAML text."""
    keys = {
        "name": "case",
        "space": "{name: NasBench201, settings: {stem_out_channels: 4, num_modules_per_stack: 1}}",
        "data": "{name: folder, folder: %s, settings: {size: 16, augment: false}}" % json.dumps(where),
        "strategy": "{name: Random}",
        "recipe": "{epochs: 1, batch_size: 16}",
        "objectives": "[val_acc]",
        "budget": "{trials: 2}",
        "retrain": "{epochs: 2, batch_size: 16}",
        "publish": "{name: case, formats: [onnx], profile_seconds: 1}",
        "seed": "0",
    } | changes
    file = path("job.yaml")
    with open(file, "w", encoding="utf-8") as out:
        out.write("".join(f"{key}: {value}\n" for key, value in keys.items() if value is not None))
    return file


def cli(*arguments, timeout=240, env=None, **options):
    return subprocess.run([sys.executable, "-m", "hubserve", *map(str, arguments)], capture_output=True, text=True, errors="replace",
                          timeout=timeout, env={**os.environ, **(env or {})}, **options)


def told(result):
    """The JSON document of a command, {} where it printed none."""
    text = result.stdout
    with contextlib.suppress(ValueError):
        return json.JSONDecoder().raw_decode(text[text.index("{"):])[0]
    return {}


def message(result):
    error = told(result).get("error")
    return error["message"] if isinstance(error, dict) else error or result.stderr.strip()[-400:]


def last_run():
    jobs = os.path.join(os.environ["HUBSERVE_HOME"], "jobs")
    found = [os.path.join(jobs, name) for name in os.listdir(jobs)] if os.path.isdir(jobs) else []
    return max(found, key=os.path.getmtime) if found else None


def small_package(where, model, labels=("a", "b", "c"), size=32, formats=("onnx",)):
    """A network of one's own as a package, by the Python API."""
    from pathlib import Path
    from hubserve.export.model_source import ModelSource as Source
    from hubserve.export.write_package import write_package
    from hubserve.package.manifest import Provenance
    from hubserve.preprocess import Preprocess
    source = Source(name="own", model=model.eval(), space="Mine", settings={}, arch={}, preprocess=Preprocess(input_size=size, resize=size),
                    labels=labels, provenance=Provenance(origin="search", weights="trial"))
    return write_package(source, Path(where), formats=formats)


def colour_net(classes=3):
    import torch
    from torch import nn
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


@contextlib.contextmanager
def server(port=PORT, env=None, wait=60, prefix=()):
    log = open(path(f"server-{port}.log"), "ab")
    process = subprocess.Popen([*prefix, sys.executable, "-m", "hubserve", "serve", "--port", str(port)], stdout=log, stderr=log,
                               env={**os.environ, "HUBSERVE_TOKEN": TOKEN, **(env or {})}, start_new_session=True)
    try:
        end = time.time() + wait
        while time.time() < end and process.poll() is None and get(f"http://127.0.0.1:{port}/readyz", timeout=1)[0] != 200:
            time.sleep(0.3)
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(Exception):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)


def get(url, timeout=5, data=None, headers=None):
    """(status, text); (0, reason) where nothing answers."""
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except Exception as error:
        return 0, f"{type(error).__name__}: {error}"


def verdict(right, found):
    print(("RIGHT: " if right else "WRONG: ") + str(found)[:900])
    sys.exit(0 if right else 1)
