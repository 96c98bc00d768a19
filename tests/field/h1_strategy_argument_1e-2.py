from common import *
folder(path("d"), count=10)
r = cli("search", job(path("d"), strategy="{name: DARTS, arguments: {arc_learning_rate: 1e-2}}", budget=None), "--check", "--json")
verdict(r.returncode == 0 or "arc_learning_rate" in message(r), f"rc {r.returncode}: {message(r)}")
