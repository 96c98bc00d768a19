from common import *
import shutil
folder(path("d"))
for hidden in ("@eaDir/p000.jpg", ".ipynb_checkpoints"):   # a NAS's thumbnails, a notebook's copies
    os.makedirs(path("d", "red", hidden)); shutil.copy(path("d", "red", "p000.jpg"), path("d", "red", hidden, "copy.jpg"))
data = told(cli("search", job(path("d")), "--check", "--json")).get("data", "")
count = sum(int(n) for n in data.split(": ")[1].split(" images")[0].split(" / ")) if ": " in data else -1
verdict(count == 72, f"72 pictures are there, counted {count}: {data}")
