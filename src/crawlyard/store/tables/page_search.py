"""Tables of the index of words in pages.

They are not among the tables of the yard: a copy of a database leaves them out, as the index is
made anew from the pages. On SQLite, the index itself is a virtual table, which SQLAlchemy does not
know; there the text of pages is not stored again.
"""

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, String, Table, Text

from crawlyard.store.tables.base import CleanText, Instant

INDEX = MetaData()

marks = Table(  # one row: the progress of the index
    "page_search_marks",
    INDEX,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("low", BigInteger, nullable=False),  # the index has the pages with ids above this one
    Column("high", BigInteger, nullable=False),  # up to this one
    Column("holder", String(64), nullable=False),  # the process that indexes
    Column("until", Instant, nullable=False),  # end of its turn: other processes may take over
    Column("loose", Boolean, nullable=False),  # pages were deleted: some terms may be unused
    Column("swept", CleanText),  # the last term checked for that; NULL: no check is due
)

terms = Table(  # all indexed terms, to find words by a part
    "page_search_terms",
    INDEX,
    Column("term", Text, primary_key=True),
    sqlite_with_rowid=False,
)

purged = Table(  # of jobs that are being purged: the last page deleted from the index
    "page_search_gone",
    INDEX,
    Column("job_no", BigInteger, primary_key=True, autoincrement=False),
    Column("page_id", BigInteger, nullable=False),
)

ON_SQLITE = (
    """
CREATE VIRTUAL TABLE page_search USING fts5(
  words, content='', columnsize=0, detail=full, tokenize="ascii tokenchars '_#'"
)
""",
    # the same words are written half as often as with 4, the default, and found in the same time
    "INSERT INTO page_search (page_search, rank) VALUES ('automerge', 8)",
    # bytes: a portion is sorted once
    "INSERT INTO page_search (page_search, rank) VALUES ('hashsize', 16777216)",
)
"""The index: of ready terms with blanks between, for each page by its id.

``ascii`` leaves all other letters alone, where `unicode61` has an alphabet of its own.
"""

ON_POSTGRES = (
    "CREATE TABLE page_search (page_id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
    "CREATE INDEX page_search_words ON page_search USING gin (words)",
)
