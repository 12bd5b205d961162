"""How one job is crawled: knows no queue and no database."""
