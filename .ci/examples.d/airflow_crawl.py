"""Run the DAG with `dag.test()`: tasks with retries, triggers in this process, SQLite."""

import os
import subprocess
import sys
from pathlib import Path

home, dags = Path("airflow").absolute(), Path("dags").absolute()
dags.mkdir()
os.environ |= {
    "AIRFLOW_HOME": str(home),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
}

from harness import an_unreliable_yard

with an_unreliable_yard() as (yard, _):
    copy = yard.copy("workflow_engines/airflow_crawl.py", yard.serve_site())
    copy.rename(dags / copy)
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], check=True, stdout=subprocess.DEVNULL)
    environment = os.environ | {"PYTHONPATH": str(dags)}
    subprocess.run([*airflow, "dags", "test", "docs"], check=True, env=environment)
