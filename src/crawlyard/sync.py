"""`crawlyard.open` and `crawlyard.connect` without async.

::

    with crawlyard.sync.connect("http://127.0.0.1:8700", token) as yard:
        job = yard.jobs.create({"urls": ["https://docs.example.org/"]})
        for page in crawlyard.sync.every(yard.jobs.pages, job.id):
            print(page.status, page.url)
"""

from crawlyard.api.blocking import connect, every, open  # noqa: A004 - `crawlyard.sync.open`

__all__ = ["connect", "every", "open"]
