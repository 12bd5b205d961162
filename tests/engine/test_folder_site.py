from pathlib import Path

import pytest

from crawlyard.demo.folder import FolderSite
from tests.site import linked_pages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub" / "deep er").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.html").write_text('<a href="sub">s</a> <a href="a%20b.html">a</a>')
    (root / "a b.html").write_text('<a href="sub/deep%20er/x.txt">x</a>')
    (root / "sub" / "index.html").write_text('<a href="../style.css">c</a>')
    (root / "sub" / "deep er" / "x.txt").write_text("x")
    (root / "style.css").write_text("p{}")
    (root / "pack.html.gz").write_bytes(b"\x1f\x8b")
    (root / "thing.unheard-of").write_bytes(b"?")
    (tmp_path / "secret.html").write_text("secret")
    (root / "out.html").symlink_to(tmp_path / "secret.html")
    (root / "loop").symlink_to(root / "loop")
    (root / "in.html").symlink_to(root / "index.html")
    return root


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/?q", "text/html"),
        ("/index.html", "text/html"),
        ("/in.html", "text/html"),
        ("/sub/", "text/html"),
        ("/a%20b.html", "text/html"),
        ("/sub/deep%20er/x.txt", "text/plain"),
        ("/style.css", "text/css"),
        ("/pack.html.gz", "application/gzip"),
        ("/thing.unheard-of", "application/octet-stream"),
    ],
)
def test_a_folder_serves_its_files(folder: Path, path: str, kind: str) -> None:
    answer = FolderSite(folder).answer("GET", path, "h")

    assert answer.status == 200
    assert dict(answer.headers)["Content-Type"] == kind
    assert "Content-Encoding" not in dict(answer.headers)
    assert dict(answer.headers)["Last-Modified"].endswith("GMT")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.html",
        "/sub/../../secret.html",
        "/%2e%2e/secret.html",
        "/..%2fsecret.html",
        "/..\\secret.html",
        "/..%5csecret.html",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/%00",
        "/%ff",
        "/out.html",
        "/loop",
        "/empty/",
        "/index.html/",
        "/none",
        "/" + "x" * 5000,
    ],
)
def test_what_is_not_in_the_folder_is_not_found(folder: Path, path: str) -> None:
    answer = FolderSite(folder).answer("GET", path, "h")

    assert answer.status == 404
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/sub", "/sub/"),
        ("/sub?a=b", "/sub/?a=b"),
        ("/sub/deep%20er", "/sub/deep%20er/"),
        ("//sub", "/sub/"),
    ],
)
def test_a_folder_without_its_slash_is_redirected(folder: Path, path: str, location: str) -> None:
    answer = FolderSite(folder).answer("GET", path, "h")

    assert answer.status == 301
    assert dict(answer.headers)["Location"] == location


def test_a_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        FolderSite(tmp_path / "none")


def test_links_in_a_folder_can_be_walked(folder: Path) -> None:
    statuses = linked_pages(FolderSite(folder))

    assert statuses == {"/": 200, "/sub": 301, "/a%20b.html": 200, "/sub/deep%20er/x.txt": 200}
