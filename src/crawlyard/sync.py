"""`crawlyard.open` and `crawlyard.connect` without async.

::

    with crawlyard.sync.connect("http://127.0.0.1:8700", token) as yard:
        job = yard.jobs.run("https://docs.example.org/", max_pages=100)
        for page in yard.jobs.pages(job.id):
            print(page.status, page.url, page.text)
"""

from crawlyard.api.blocking import connect, every, open  # noqa: A004 - `crawlyard.sync.open`

__all__ = ["connect", "every", "open"]
