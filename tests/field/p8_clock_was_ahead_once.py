from common import *
import re
from hubserve import store
from hubserve.store import aliases

package = small_package(path("p"), colour_net())
first = store.publish(package.path, name="own", version="v1")
y = first.path / "model.yaml"
y.write_text(
    re.sub(r"creation_time:.*", "creation_time: '2039-01-01T00:00:00+00:00'", y.read_text())
)  # the machine's clock was wrong that day
store.publish(package.path, name="own", version="v2")
named = aliases.resolve("own").tag
with server():
    answered = json.loads(get(BASE + "/classify?model=own", data=jpeg())[1]).get("model")
verdict(
    answered == named == "own:v2", f"v2 was published last; the command line takes {named}, the service answers by {answered}"
)
