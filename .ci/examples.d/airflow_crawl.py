"""Run the DAG with `dag.test()`: tasks with retries, triggers in this process, SQLite."""

import os
import subprocess
import sys
from pathlib import Path

home = Path("airflow").absolute()
os.environ |= {
    "AIRFLOW_HOME": str(home),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path().absolute()),
}

from harness import an_unreliable_yard

with an_unreliable_yard() as (yard, _):
    yard.copy("workflow_engines/airflow_crawl.py", yard.serve_site())
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], check=True, stdout=subprocess.DEVNULL)
    environment = os.environ | {"PYTHONPATH": str(Path().absolute())}
    subprocess.run([*airflow, "dags", "test", "docs"], check=True, env=environment)
