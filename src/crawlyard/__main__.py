"""``python -m crawlyard`` is the command ``crawlyard``."""

from crawlyard.cli.app import main

if __name__ == "__main__":
    main()
