from common import *

open(path("file"), "w").close()
found = {}
for name, command in (("BENTOML_HOME", ("models",)), ("HUBSERVE_HOME", ("jobs",))):
    r = cli(*command, env={name: path("file")})
    found[name] = (r.returncode, r.stderr.strip().splitlines()[-1:])
verdict(all(rc == 2 for rc, _ in found.values()), found)
