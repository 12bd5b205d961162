"""A gold of main content, made by hand and independent of the extractor it judges.

    python -m tests.gold.fetch DIR    # Debian's packages of documentation, once
    python -m tests.gold.score DIR    # turbohtml's own main_text(), as the baseline
    python -m tests.gold.score DIR --half read --extract package.module:function [--markdown]
    python -m tests.gold.score DIR --theme Doxygen --extract …    # page by page, with the words

Who writes the rules of an extractor looks at `read.toml` and `pages/read`, and does not open
`unread.toml` and `pages/unread`.
"""
