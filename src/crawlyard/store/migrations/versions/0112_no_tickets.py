"""Procrastinate's tables, which carried wakeups on Postgres, are dropped."""

from alembic import op

revision = "0112"
down_revision = "0110"

# An application of the user's own may have found the tables there and use them: then they stay.
_DROP = """
DO $$
DECLARE one regprocedure;
BEGIN
  IF to_regclass('procrastinate_jobs') IS NULL THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM procrastinate_jobs WHERE NOT starts_with(queue_name, 'crawlyard')) THEN
    RETURN;
  END IF;
  DROP TABLE IF EXISTS procrastinate_jobs, procrastinate_periodic_defers, procrastinate_events,
    procrastinate_workers CASCADE;
  FOR one IN SELECT oid FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace AND starts_with(proname, 'procrastinate_')
  LOOP
    EXECUTE 'DROP FUNCTION ' || one || ' CASCADE';
  END LOOP;
  DROP TYPE IF EXISTS procrastinate_job_status, procrastinate_job_event_type,
    procrastinate_job_to_defer_v1;
END $$
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_DROP)
