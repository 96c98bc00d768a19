from common import *

r = subprocess.run(
    ["unshare", "-U", "--map-user=54321", "env", "-u", "HOME", "-u", "HUBSERVE_HOME", sys.executable, "-m", "hubserve", "jobs"],
    capture_output=True,
    text=True,
)
verdict(
    "Traceback" not in r.stderr,
    f"a user without an entry and without HOME: rc {r.returncode} {r.stderr.strip().splitlines()[-1:]}",
)
