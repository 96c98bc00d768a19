from common import *

folder(path("d"))
os.makedirs(path("small"))
file = job(path("d"), budget="{trials: 40}")
script = f"mount -t tmpfs -o size=300k tmpfs {path('small')}; HUBSERVE_HOME={path('small')} {sys.executable} -m hubserve search {file}; echo rc $?; HUBSERVE_HOME={path('small')} {sys.executable} -m hubserve jobs --json; find {path('small')} -name '.*' -type f"
r = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
verdict(
    "Traceback" not in r.stderr and "vanished" not in r.stdout,
    f"{r.stderr.strip().splitlines()[-1:]}; jobs says {'that the process vanished, killed or out of memory' if 'vanished' in r.stdout else 'otherwise'}; left: {[l.split('/')[-1] for l in r.stdout.splitlines() if '/.weights' in l]}",
)
