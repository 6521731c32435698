"""Only the page itself is answered, and only what it may have."""

import httpx
import pytest

from experiments.explore.guard import Guard
from experiments.explore.pictures import UPLOAD_LIMIT_BYTES
from experiments.explore.server import make_app
from tests.experiments.explore.clients import TOKEN, TestClient

HERE = "127.0.0.1:8000"

# By name: path, headers, status, and a word of the answer.
REQUESTS = {
    "no token": ("/", {}, 404, "token"),
    "wrong token": ("/b-token/", {}, 404, "token"),
    "part of the token": (f"/{TOKEN[:-1]}/", {}, 404, "token"),
    "token that is no ASCII": ("/ä-token/", {}, 404, "token"),
    "token as a query": (f"/?token={TOKEN}", {}, 404, "token"),
    "page without a slash": (f"/{TOKEN}", {}, 307, ""),
    "the page": (f"/{TOKEN}/", {}, 200, "<title>Elicit"),
    "a script": (f"/{TOKEN}/main.js", {}, 200, "import"),
    "own origin": (f"/{TOKEN}/", {"origin": f"http://{HERE}"}, 200, "Elicit"),
    "other origin": (f"/{TOKEN}/", {"origin": "http://example.org"}, 403, "other sites"),
    "origin of a file": (f"/{TOKEN}/", {"origin": "null"}, 403, "other sites"),
    "other host": (f"/{TOKEN}/", {"host": "example.org:8000"}, 421, "example.org"),
    "host that is none": (f"/{TOKEN}/", {"host": "[::"}, 421, "does not answer"),
    "localhost": (f"/{TOKEN}/", {"host": "localhost:8000"}, 200, "Elicit"),
    "IPv6": (f"/{TOKEN}/", {"host": "[::1]:8000"}, 200, "Elicit"),
    "file of the package": (f"/{TOKEN}/server.py", {}, 404, "no such page"),
    "file above": (f"/{TOKEN}/..%2fserver.py", {}, 404, ""),
    "file of the machine": (f"/{TOKEN}/%2fetc%2fpasswd", {}, 404, ""),
    "unknown path": (f"/{TOKEN}/api/nothing", {}, 404, ""),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_answered_or_refused(name, client):
    path, headers, status, words = REQUESTS[name]
    client = TestClient(client.app, f"http://{HERE}", follow_redirects=False)
    answer = client.get(path, headers=headers)
    assert answer.status_code == status
    assert words in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("host", "status"), [("::", 200), ("", 200), ("machine", 200), ("other", 421)]
)
def test_a_host_that_was_asked_for_is_answered(host, status, explorer):
    client = TestClient(Guard(make_app(explorer), token=TOKEN, host=host), "http://machine:8000")
    assert client.get(f"/{TOKEN}/").status_code == status


def test_the_page_cannot_be_read_by_another_method(client):
    assert client.post("").status_code == 405


def test_an_upload_that_says_its_size_is_refused_unread(client):
    size = {"content-length": str(UPLOAD_LIMIT_BYTES + 1)}
    answer = client.post("api/upload", headers=size, content=b"")
    assert answer.status_code == 413
    assert "20 MiB" in answer.json()["error"]


def test_an_upload_that_hides_its_size_is_cut_off(client):
    def endless():
        for _ in range(UPLOAD_LIMIT_BYTES // 2**20 + 1):
            yield bytes(2**20)

    answer = client.post("api/upload", content=endless())
    assert answer.status_code == 400
    assert "20 MiB" in answer.json()["error"]


def test_lengths_that_are_no_numbers_do_no_harm(client):
    answer = client.get("", headers=httpx.Headers({"content-length": "many"}))
    assert answer.status_code == 200
