"""The demo as a part of another ASGI app, at /inner/ there, as Shiny's documentation shows it."""

import runpy
import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount

DEMO = Path(__file__).resolve().parents[2] / "app" / "app.py"

sys.path.insert(0, str(DEMO.parent))  # where its other modules are
app = Starlette(routes=[Mount("/inner", app=runpy.run_path(str(DEMO))["app"])])
