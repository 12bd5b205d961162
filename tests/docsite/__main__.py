"""``python -m tests.docsite FOLDER`` builds the documentation site into FOLDER."""

import sys
from pathlib import Path

from tests.docsite.build import build

if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "site"))
