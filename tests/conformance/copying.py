"""Many jobs at once, past our own code: more than a test can submit."""

from sqlalchemy import Connection, String, func, literal, select

from crawlyard.store.tables.jobs import job_tags, jobs, shards


def copy_job(conn: Connection, job_id: str, count: int) -> None:
    """Add *count* copies of a job with its tags to a SQLite database."""
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < count))
    no = conn.execute(select(jobs.c.no).where(jobs.c.id == job_id)).scalar_one()
    overrides = {
        "id": func.substr(jobs.c.id, 1, 24) + func.printf("%012d", numbers.c.n, type_=String)
    }
    overrides["tail"] = func.printf("%04d", numbers.c.n % 10_000)
    names = [each.name for each in jobs.c if each.name != "no"]
    copies = select(*(overrides.get(name, jobs.c[name]) for name in names)).where(jobs.c.no == no)
    conn.execute(jobs.insert().from_select(names, copies.join_from(jobs, numbers, literal(True))))
    for table in (shards, job_tags):
        column_names = [each.name for each in table.c if each.name != "job_no"]
        joined = jobs.join(table, table.c.job_no == no)
        rest = select(jobs.c.no, *(table.c[name] for name in column_names)).select_from(joined)
        rest = rest.where(jobs.c.no > no)
        conn.execute(table.insert().from_select(["job_no", *column_names], rest))
