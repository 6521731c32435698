"""The server's answers: frames as events, one line for what goes wrong, no work for nobody."""

import threading

import anyio
import pytest

from experiments.explore.server import Explorer
from experiments.explore.subject import SubjectLoader
from tests.experiments.explore.clients import RULE, client_of


def test_the_state_names_what_there_is_to_show(client, made):
    state = client.get("api/state").json()
    assert state["state"] == "ready"
    assert state["class_names"] == ["ant", "bee", "cow"]
    assert state["images"] == 48
    assert [each["name"] for each in state["sets"]] == [str(made)]
    assert (state["gans"], state["results"], state["running"]) == ([], None, 0)


def test_an_image_comes_with_its_output(client):
    found = client.get("api/image?index=3").json()
    assert sum(found["output"]) == pytest.approx(1, abs=1e-4)
    assert found["label"] in (0, 1, 2)


@pytest.mark.parametrize("index", ["", "-1", "48", "1.5", "³", "9" * 20])
def test_another_image_is_refused(index, client):
    answer = client.get("api/image", params={"index": index})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("image must be")


def test_a_run_streams_every_update_and_then_goes_on(client, request_fields, events_of):
    events = events_of(client.post("api/run", json=request_fields()).text)
    assert [kind for kind, _ in events] == ["start", *["frame"] * 5, "end"]
    assert [data["step"] for kind, data in events if kind == "frame"] == [0, 1, 2, 3, 4]
    name = events[0][1]["run"]
    # The page has had the frames up to update 3.
    more = events_of(client.post("api/go-on", json={"run": name, "after": 3, "updates": 2}).text)
    assert [data["step"] for kind, data in more if kind == "frame"] == [4, 5, 6]
    whole = client.post("api/run", json=request_fields(rules=[{**RULE, "steps": 6}])).text
    assert events_of(whole)[-2][1]["image"] == more[-2][1]["image"]


def test_a_target_that_is_reached_ends_the_stream(client, request_fields, events_of):
    easy = {**RULE, "tolerance": 100.0}
    events = events_of(client.post("api/run", json=request_fields(rules=[easy])).text)
    assert events[-1] == ("end", {"is_reached": True})


def test_an_upload_is_where_a_run_starts(client, request_fields, events_of, picture_file):
    found = client.post("api/upload?name=../x.png", content=picture_file()).json()
    assert (found["label"], found["file_name"]) == (None, "x.png")
    events = events_of(client.post("api/run", json=request_fields(upload=found["upload"])).text)
    assert events[1][1]["image"] == found["image"]


REFUSED = {
    "no JSON": ("api/run", b"{", "JSON"),
    "no object": ("api/run", b"[1]", "JSON object"),
    "target by hand": (
        "api/run", b'{"image": 0, "target": [0.5, 0.6, 0], "rules": [{}]}', "sum to 1, got 1.1"
    ),
    "upload of text": ("api/upload", b"text", "no PNG"),
    "unknown run": ("api/go-on", b'{"run": "x", "after": 0, "updates": 1}', "run it again"),
    "go on without a run": ("api/go-on", b"{}", "expected run"),
    "unknown set": ("api/sets/7", b"{}", "got number 7"),
    "wrong query": ("api/sets/0", b'{"page": "x"}', "as page"),
    "unknown GAN": ("api/gans/0", b'{"label": 0, "keys": [1]}', "got number 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_requests_are_answered_in_one_line(name, client):
    path, content, words = REFUSED[name]
    answer = client.post(path, content=content)
    assert answer.status_code == 400
    message = answer.json()["error"]
    assert words in message
    assert "\n" not in message


def test_a_fault_of_ours_is_called_one(client, monkeypatch, explorer):
    monkeypatch.setattr(explorer, "uploads", None)
    answer = client.post("api/upload", content=b"x")
    assert answer.status_code == 500
    assert "bug in Elicit (AttributeError)" in answer.json()["error"]


def test_a_fault_within_a_stream_is_told_too(client, request_fields, monkeypatch, events_of):
    def fail(_):
        raise FloatingPointError("not finite")

    monkeypatch.setattr("experiments.explore.updates.Optimisation.advance", fail)
    events = events_of(client.post("api/run", json=request_fields()).text)
    assert events[-1] == ("error", {"error": "not finite"})


def test_nobody_waits_for_anothers_run(explorer, request_fields, events_of):
    """Two pages at once: both get all of their own frames."""
    texts = {}

    def ask(number: int) -> None:
        texts[number] = client_of(explorer).post("api/run", json=request_fields(image=number)).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alone = client_of(explorer).post("api/run", json=request_fields(image=2)).text
    frames = [
        [data["image"] for kind, data in events_of(text) if kind == "frame"]
        for text in (texts[1], texts[2], alone)
    ]
    assert frames[1] == frames[2]
    assert frames[0] != frames[1]


def test_a_page_that_is_closed_stops_its_work(explorer, request_fields):
    """The request is cancelled as a server cancels it when the connection is closed."""
    client = client_of(explorer)
    long = request_fields(rules=[{**RULE, "steps": 10_000}])
    app, frames = client.app, []

    async def close_after_three_frames() -> None:
        body = client.build_request("POST", "api/run", json=long)
        scope = {
            "type": "http", "method": "POST", "path": body.url.path, "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:8000")], "asgi": {"spec_version": "2.3"},
        }  # fmt: skip
        is_closed = anyio.Event()
        messages = [{"type": "http.request", "body": body.read(), "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await is_closed.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            frames.append(message)
            if len(frames) == 5:
                is_closed.set()

        with anyio.fail_after(60):
            await app(scope, receive, send)

    anyio.run(close_after_three_frames)
    assert 5 <= len(frames) < 10
    assert explorer.running == 0


def test_before_the_classifier_is_ready_the_page_shows_how_far_it_is(options, monkeypatch):
    loader = SubjectLoader(options)
    explorer = Explorer(loader)
    client = client_of(explorer)
    assert client.get("api/state").json() == {"state": "compiling", "running": 0}
    answer = client.get("api/image?index=0")
    assert answer.status_code == 400
    assert "not ready yet" in answer.json()["error"]

    def fail(_):
        raise OSError("no room")

    monkeypatch.setattr("experiments.explore.subject.compile_for", fail)
    loader.prepare()
    state = client.get("api/state").json()
    assert state["state"] == "failed"
    assert "no room" in state["error"]
    assert "no room" in client.get("api/image?index=0").json()["error"]
