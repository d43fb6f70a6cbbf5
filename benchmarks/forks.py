"""What of the packages that people import is shared by forks: a table of processor time and memory, to be printed.

    .venv/bin/python benchmarks/forks.py --python /path/to/venv/bin/python [numpy pandas ...]

The other interpreter needs shiny, uvicorn and the packages; those that it has not are left out. Each package is
used in every worker, by a page that shows a result.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "tests")]

from measure import cpu_seconds, pss
from support.real_site import Site

WORKERS = 8

# What an app imports, and what it computes with that.
PACKAGES = {
    "shiny alone": ("", "1"),
    "numpy": ("import numpy as np", "(np.ones((300, 300)) @ np.ones((300, 300))).sum()"),
    "pandas": ("import pandas as pd", "pd.DataFrame({'a': range(1000)}).groupby(lambda row: row % 7).sum()"),
    "pandas, a Parquet file read at import": (
        "import pandas as pd\npd.DataFrame({'a': range(1000)}).to_parquet('a.parquet')\n"
        "table = pd.read_parquet('a.parquet')",
        "table.a.sum() + pd.read_parquet('a.parquet').a.sum()",
    ),
    "polars": ("import polars as pl", "pl.DataFrame({'a': range(1000)}).lazy().sum().collect()"),
    "duckdb": ("import duckdb", "duckdb.sql('select sum(i) from range(100000) t(i)').fetchall()"),
    "scikit-learn": (
        "import numpy as np\nfrom sklearn.cluster import KMeans",
        "KMeans(3).fit(np.random.rand(1000, 3)).inertia_",
    ),
    "scikit-learn, a model fitted at import": (
        "import numpy as np\nfrom sklearn.cluster import KMeans\nmodel = KMeans(3).fit(np.random.rand(1000, 3))",
        "model.predict(np.random.rand(1000, 3)).sum()",
    ),
    "statsmodels": (
        "import numpy as np\nimport statsmodels.api as sm",
        "sm.OLS(np.random.rand(99), np.random.rand(99, 2)).fit().rsquared",
    ),
    "matplotlib": ("import matplotlib.pyplot as plt", "plt.subplots()[0].canvas.get_width_height()"),
    "plotly": ("import plotly.express as px", "len(px.line(x=[1, 2], y=[3, 4]).to_json())"),
    "altair": ("import altair as alt", "len(alt.Chart().mark_point().to_json())"),
    "great_tables": (
        "import great_tables as gt\nimport pandas as pd",
        "len(gt.GT(pd.DataFrame({'a': [1]})).as_raw_html())",
    ),
    "geopandas": (
        "import geopandas\nfrom shapely.geometry import Point",
        "geopandas.GeoSeries([Point(1, 2)], crs=4326).to_crs(3857)",
    ),
    "sqlalchemy": (
        "from sqlalchemy import create_engine, text\nengine = create_engine('sqlite:///a.db')",
        "engine.connect().execute(text('select 1')).scalar()",
    ),
    "httpx": ("import httpx\nclient = httpx.Client()", "httpx.Request('GET', 'http://localhost/').url"),
    "torch": ("import torch", "torch.rand(300, 300).mm(torch.rand(300, 300)).sum()"),
    "tensorflow": ("import tensorflow as tf", "tf.reduce_sum(tf.ones((300, 300)))"),
}

APP = """{imports}
from shiny import App, ui


def app_ui(request):
    return ui.page_fluid(f"It works: {{{use}}}")


app = App(app_ui, lambda input, output, session: None)
"""


def main() -> int:
    """Print the table; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the packages")
    parser.add_argument("packages", nargs="*", choices=[*PACKAGES, []], metavar="package")
    options = parser.parse_args()
    print(
        "| what an app imports | each worker imports itself | s, forked | s, spawned | MB, forked | MB, spawned |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows(options.python, options.packages or list(PACKAGES)):
        print(row, flush=True)
    return 0


def rows(python: str, packages: list[str]) -> Iterator[str]:
    """A line of the table for each package that there is."""
    for package in packages:
        imports, use = PACKAGES[package]
        if subprocess.run([python, "-c", imports], capture_output=True, cwd="/tmp", check=False).returncode:
            yield f"| {package} | cannot be imported here | | | | |"
            continue
        code = APP.format(imports=imports, use=use)
        left, seconds, memory = measured(python, code, preload=True)
        _, spawned_seconds, spawned_memory = measured(python, code, preload=False)
        yield (
            f"| {package} | {left or 'nothing'} | {seconds:.1f} | {spawned_seconds:.1f} "
            f"| {memory / 1e6:.0f} | {spawned_memory / 1e6:.0f} |"
        )


def measured(python: str, code: str, *, preload: bool) -> tuple[str, float, float]:
    """Serve an app.

    Returns:
        What each worker imports itself; the processor time (in seconds) that all workers have taken until each has
        answered, with that of the process that they are forked off; and their memory (PSS) in bytes.
    """
    with Site({"app": {"target": "app.py", "workers": WORKERS, "python": python, "preload": preload}}) as site:
        (site.folder / "app.py").write_text(code)
        site.start()
        for worker in site.table():
            page = site.ask(cookie=f"sticky={worker}")
            if page.status != 200 or b"It works" not in page.body:
                raise RuntimeError(f"{worker} answers with {page.status}: {site.lines}")
        pids = [*site.parents(), *site.table().values()]
        said = site.said("each worker imports")
        left = said[0].partition("each worker imports ")[2].partition(" itself")[0] if said else ""
        return left, cpu_seconds(pids), pss(pids)


if __name__ == "__main__":
    sys.exit(main())
