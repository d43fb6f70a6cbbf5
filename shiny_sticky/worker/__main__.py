"""Start of a worker: ``python .../shiny_sticky/worker app2.k3f9 --target=...``."""

import importlib.util
import sys
from pathlib import Path

# Python puts this folder first in the path. Its modules must not stand in the way of the app's own, so they
# are loaded as a package under a name of their own.
here = Path(__file__).resolve().parent
sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]
spec = importlib.util.spec_from_file_location("sticky_worker", here / "__init__.py")
assert spec is not None and spec.loader is not None
package = importlib.util.module_from_spec(spec)
sys.modules["sticky_worker"] = package
spec.loader.exec_module(package)

if __name__ == "__main__":
    from sticky_worker.main import main  # type: ignore[import-not-found]

    sys.exit(main())
