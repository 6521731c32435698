"""The page's server: its files, its JSON, and the stream of updates."""

import functools
import json
import socket
from collections.abc import AsyncIterator, Callable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import anyio
import uvicorn
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from experiments.explore.as_code import command_text, python_text
from experiments.explore.gan_samples import ShownGan
from experiments.explore.image_sets import Query, ShownSet
from experiments.explore.pictures import StartPicture, Uploads, pick, png_text
from experiments.explore.result_tables import read_shown_results
from experiments.explore.subject import Subject, SubjectLoader
from experiments.explore.updates import Optimisation, Optimisations, read_request
from experiments.options.synthesis import RuleConfig
from experiments.synthesis.rule_options import PIXEL_MAPS
from imgopt.errors import InputError
from train.storage.strict_json import parse_json
from train.storage.typed_json import from_json

FILE_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

THREADS = 4
"""Computations that run side by side; further ones wait for their turn, an update at a time."""

GRACE_SECONDS = 1
"""How long the server waits for running answers when it is stopped."""

Found = TypeVar("Found")


class Explorer:
    """Everything that the page shows, and what it has asked for so far."""

    def __init__(
        self,
        loader: SubjectLoader,
        *,
        sets: tuple[ShownSet, ...] = (),
        gans: tuple[ShownGan, ...] = (),
        results: Path | None = None,
    ) -> None:
        """Takes the classifier, and the sets, GANs and results that were named."""
        self.loader, self.sets, self.gans, self.results = loader, sets, gans, results
        self.uploads, self.optimisations = Uploads(), Optimisations()
        self.running = 0
        self._limiter: anyio.CapacityLimiter | None = None

    @property
    def subject(self) -> Subject:
        """The classifier and its data set; raises InputError while it is being trained."""
        return self.loader.get()

    @property
    def subject_if_ready(self) -> Subject | None:
        """The classifier and its data set; None while it is being trained."""
        return self.loader.get() if self.loader.state()["state"] == "ready" else None

    async def compute(self, function: Callable[[], Found]) -> Found:
        """Runs a function in a thread, so that the server answers others meanwhile."""
        self._limiter = self._limiter or anyio.CapacityLimiter(THREADS)
        return await to_thread.run_sync(function, limiter=self._limiter)


def make_app(explorer: Explorer) -> ASGIApp:
    """Builds the application; it expects paths without a token.

    Args:
        explorer: what it shows.
    """

    def answer(path: str, handler: Callable[..., Any], *, method: str = "GET") -> Route:
        async def endpoint(request: Request) -> Response:
            found = await handler(explorer, request)
            return found if isinstance(found, Response) else JSONResponse(found)

        return Route(path, endpoint, methods=[method])

    return Starlette(
        routes=[
            answer("/", _file),
            answer("/api/state", _state),
            answer("/api/image", _image),
            answer("/api/upload", _upload, method="POST"),
            answer("/api/run", _run, method="POST"),
            answer("/api/go-on", _go_on, method="POST"),
            answer("/api/code", _code, method="POST"),
            answer("/api/sets/{number:int}", _set_page, method="POST"),
            answer("/api/sets/{number:int}/{row:int}", _set_details),
            answer("/api/gans/{number:int}", _gan, method="POST"),
            answer("/api/results", _results),
            answer("/{name}", _file),
        ],
        exception_handlers={
            InputError: _as_answer,
            OSError: _as_answer,
            FloatingPointError: _as_answer,
            Exception: _as_bug,
        },
    )


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serves an application on a socket until a signal comes.

    Args:
        app: the application.
        listening: a bound socket.
    """
    config = uvicorn.Config(
        app, log_level="warning", lifespan="off", timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def _as_answer(request: Request, error: Exception) -> Response:
    del request
    return JSONResponse({"error": _one_line(error)}, 400)


def _as_bug(request: Request, error: Exception) -> Response:
    del request
    return JSONResponse({"error": _bug(error)}, 500)


def _bug(error: Exception) -> str:
    return f"this is a bug in Elicit ({type(error).__name__}); see the terminal"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


async def _body(request: Request) -> dict[str, Any]:
    content = await request.body()
    try:
        content = parse_json(content)
    except InputError as error:
        raise InputError(f"expected a JSON object, got something else ({error})") from error
    if not isinstance(content, dict):
        raise InputError("expected a JSON object")
    return content


@functools.cache
def _files() -> dict[str, bytes]:
    """The page's files by name; no other file is ever served."""
    folder = resources.files("experiments.explore") / "page"
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if Path(file.name).suffix in FILE_TYPES
    }


async def _file(explorer: Explorer, request: Request) -> Response:
    del explorer
    name = request.path_params.get("name", "index.html")
    if name not in _files():
        return JSONResponse({"error": "there is no such page"}, 404)
    return Response(_files()[name], media_type=FILE_TYPES[Path(name).suffix])


async def _state(explorer: Explorer, request: Request) -> dict[str, Any]:
    """Whether the classifier is ready, and what there is to show."""
    del request
    state = explorer.loader.state() | {"running": explorer.running}
    if state["state"] != "ready":
        return state
    subject, usual = explorer.subject, RuleConfig()
    return state | {
        "classifier": subject.options.classifier,
        "dataset": f"{subject.options.data}, {subject.options.split}",
        "images": len(subject.data),
        "class_names": subject.class_names,
        "image_shape": subject.image_shape,
        "pixel_maps": list(PIXEL_MAPS),
        "defaults": {name: getattr(usual, name) for name in ("radius", "sigma", "tolerance")},
        "sets": await explorer.compute(lambda: [_described(each) for each in explorer.sets]),
        "gans": [each.describe() for each in explorer.gans],
        "results": None if explorer.results is None else str(explorer.results),
    }


def _described(shown: ShownSet) -> dict[str, Any]:
    """A set's description, or what is wrong with it."""
    try:
        return shown.describe()
    except (InputError, OSError) as error:
        return {"name": str(shown.directory), "error": _one_line(error)}


async def _image(explorer: Explorer, request: Request) -> dict[str, Any]:
    index = request.query_params.get("index", "")
    if not (index.isascii() and index.isdecimal() and len(index) < 12):
        raise InputError(f"image must be a whole number, got {index!r:.40}")
    subject = explorer.subject
    return await explorer.compute(lambda: _shown(subject, pick(subject, int(index))))


async def _upload(explorer: Explorer, request: Request) -> dict[str, Any]:
    content, subject = await request.body(), explorer.subject
    file_name = Path(request.query_params.get("name", "")).name[:200]

    def add() -> dict[str, Any]:
        name = explorer.uploads.add(subject, content, file_name)
        return _shown(subject, explorer.uploads.get(name)) | {"upload": name}

    return await explorer.compute(add)


def _shown(subject: Subject, picture: StartPicture) -> dict[str, Any]:
    """A picture with the classifier's output for it."""
    output = subject.probabilities(picture.pixels[None], batch_size=1)[0]
    return {
        "image": png_text(picture.pixels),
        "label": picture.label,
        "file_name": picture.file_name,
        "output": [float(f"{value:.6g}") for value in output],
    }


async def _run(explorer: Explorer, request: Request) -> Response:
    fields = await _body(request)
    subject = explorer.subject

    def begin() -> tuple[str, Optimisation, int]:
        read = read_request(subject, explorer.uploads, fields)
        begun = Optimisation(subject, read)
        return explorer.optimisations.add(begun), begun, read.rules[0].steps

    name, begun, updates = await explorer.compute(begin)
    return _stream(explorer, name, begun, updates + 1, ())


async def _go_on(explorer: Explorer, request: Request) -> Response:
    fields = await _body(request)
    name, after, updates = fields.get("run"), fields.get("after"), fields.get("updates")
    if type(name) is not str or type(after) is not int or type(updates) is not int:
        raise InputError("expected run, after and updates")
    begun = explorer.optimisations.get(name)
    return _stream(explorer, name, begun, updates, begun.missed(after))


def _stream(
    explorer: Explorer, name: str, begun: Optimisation, count: int, missed: Any
) -> StreamingResponse:
    """Streams frames as server-sent events. When the page is closed, the work stops."""

    async def events() -> AsyncIterator[str]:
        explorer.running += 1
        try:
            yield _event("start", {"run": name})
            for frame in missed:
                yield _event("frame", frame)
            for _ in range(count):
                frames = await explorer.compute(begun.advance)
                for frame in frames:
                    yield _event("frame", frame)
                if not frames:
                    break
            yield _event("end", {"is_reached": begun.is_done})
        except (InputError, OSError, FloatingPointError) as error:
            yield _event("error", {"error": _one_line(error)})
        except Exception as error:
            yield _event("error", {"error": _bug(error)})
            raise
        finally:
            explorer.running -= 1

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(kind: str, content: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(content, allow_nan=False)}\n\n"


async def _code(explorer: Explorer, request: Request) -> dict[str, Any]:
    fields, subject = await _body(request), explorer.subject

    def write() -> dict[str, Any]:
        read = read_request(subject, explorer.uploads, fields)
        rule = read.rules[0]
        is_upload = read.picture.file_name is not None
        return {
            "python": python_text(subject, read, rule=rule),
            "command": None if is_upload else command_text(subject, read, rule=rule),
        }

    return await explorer.compute(write)


def _numbered(shown: tuple[Found, ...], request: Request) -> Found:
    number = request.path_params["number"]
    if number >= len(shown):
        raise InputError(f"there are {len(shown)} of these, got number {number}")
    return shown[number]


async def _set_page(explorer: Explorer, request: Request) -> dict[str, Any]:
    query = from_json(Query, await _body(request))
    shown = _numbered(explorer.sets, request)
    return await explorer.compute(lambda: shown.page(query, explorer.subject_if_ready))


async def _set_details(explorer: Explorer, request: Request) -> dict[str, Any]:
    shown, row = _numbered(explorer.sets, request), request.path_params["row"]
    return await explorer.compute(lambda: shown.details(row, explorer.subject_if_ready))


async def _gan(explorer: Explorer, request: Request) -> dict[str, Any]:
    fields = await _body(request)
    shown = _numbered(explorer.gans, request)
    label, keys = fields.get("label"), fields.get("keys")
    keys = keys if isinstance(keys, list) and {type(key) for key in keys} == {int} else []
    if type(label) is not int or len(keys) not in (1, 2):
        raise InputError("expected a class and one key, or two keys to go between")
    subject = explorer.subject_if_ready
    if len(keys) == 1:
        return await explorer.compute(lambda: shown.samples(keys[0], label, subject))
    return await explorer.compute(lambda: shown.way((keys[0], keys[1]), label, subject))


async def _results(explorer: Explorer, request: Request) -> dict[str, Any]:
    del request
    place = explorer.results
    found = [] if place is None else await explorer.compute(lambda: read_shown_results(place))
    return {"results": found}
