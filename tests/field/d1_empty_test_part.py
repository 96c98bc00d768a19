from common import *
folder(path("d"), count=4)      # 4 of each class: 9 to train, 3 to validate, 0 to test
r = cli("search", job(path("d")), "--json")
run = last_run(); m = json.load(open(run + "/package/manifest.json"))["provenance"] if run and os.path.exists(run + "/package/manifest.json") else {}
verdict(r.returncode != 0 or not m.get("metric"), f"metric {m.get('metric')} from {m.get('search', {}).get('test_images')} test pictures (it is that of validation)")
