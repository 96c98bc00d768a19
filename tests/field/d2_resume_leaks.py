from common import *
from hubserve.evaluator import load_dataset
folder(path("d"))
first = load_dataset("folder", path("d"), size=16, augment=False)
trained, bad = {str(p) for p, _ in first.train.items}, str(first.test.items[0][0])
open(bad, "wb").write(b"broken")
cli("search", job(path("d")), "--json")          # trains, and fails once it looks at the test part: "take it out of the data set"
os.remove(bad)                                    # which we do
for name in trained: open(name, "wb").write(b"broken")      # so that whoever judges by a picture that was trained on says so
r = cli("search", "--run", last_run(), "--json")  # and go on
used = [name for name in trained if name in message(r)]
verdict(not used, f"went on and judged by {[os.path.relpath(u, path('d')) for u in used]}, which it was trained on (whole, it is published with that accuracy)")
