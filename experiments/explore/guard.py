"""What stands before the page's server: the token, the host, the origin, and limits."""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from experiments.explore.pictures import UPLOAD_LIMIT_BYTES
from imgopt.errors import InputError

EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
"""Hosts that stand for all addresses of the machine."""

LOCAL = ("127.0.0.1", "localhost", "::1")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Lets through only requests that know the token, for this host, from this page.

    The host is compared since another site's name may be made to point at this machine; the origin
    since another site's page may send requests here. Both need the token too.
    """

    def __init__(self, app: ASGIApp, *, token: str, host: str) -> None:
        """Takes the application, the token in its addresses, and the host that it is served on."""
        self._app, self._token = app, token
        self._hosts = None if host in EVERYWHERE else {host.lower(), *LOCAL}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on with the token taken out of its path."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._refusal(scope)
        if answer is not None:
            await answer(scope, receive, _with_headers(send))
            return
        _, path = _split(scope["path"])
        inner = dict(scope, path=path, raw_path=path.encode())
        await self._app(inner, _limited(receive), _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return _error(f"this server does not answer for the host {host!r:.80}", 421)
        token, path = _split(scope["path"])
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return _error("open the address that elicit explore printed, with its token", 404)
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return _error("requests from other sites are refused", 403)
        if not path:
            return RedirectResponse(f"/{self._token}/")
        if int(_digits(headers.get("content-length", "0"))) > UPLOAD_LIMIT_BYTES:
            return _error(_too_large(), 413)
        return None


def _split(path: str) -> tuple[str, str]:
    """The first part of a path, and the rest with its slash."""
    token, slash, rest = path.removeprefix("/").partition("/")
    return token, slash + rest


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _digits(text: str) -> str:
    return text if text.isascii() and text.isdecimal() and len(text) < 20 else "0"


def _error(words: str, status: int) -> Response:
    return JSONResponse({"error": words}, status)


def _too_large() -> str:
    return f"the upload is larger than {UPLOAD_LIMIT_BYTES // 2**20} MiB; choose a smaller picture"


def _limited(receive: Receive) -> Receive:
    """Refuses a body above the limit, whatever length its header gave."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > UPLOAD_LIMIT_BYTES:
            raise InputError(_too_large())
        return message

    return limited


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sending
