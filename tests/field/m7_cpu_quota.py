from common import *
code = "from hubserve.host import cores, describe_host; print(describe_host().cpu_quota, cores())"
script = 'mount -t tmpfs tmpfs /sys/fs/cgroup && echo "100000 100000" > /sys/fs/cgroup/cpu.max && exec "$@"'
r = subprocess.run(["unshare", "-rm", "sh", "-c", script, "sh", sys.executable, "-c", code], capture_output=True, text=True)
quota, used = r.stdout.split() if r.stdout.split() else (None, None)
verdict(used == "1", f"cgroup allows {quota} cores; threads are sized for {used} {r.stderr[-200:]}")
