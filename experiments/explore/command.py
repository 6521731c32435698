"""The command `elicit explore`: checks the options, binds the address and serves the page.

Importing this module is quick and needs no web server, so that the help works without one.
"""

import contextlib
import errno
import importlib.util
import os
import secrets
import socket
import threading
import webbrowser

from experiments.explore.gan_samples import open_gans
from experiments.explore.image_sets import open_sets
from experiments.explore.result_tables import check_results
from experiments.explore.subject import SubjectLoader
from experiments.options.explore import ExploreConfig
from imgopt.errors import InputError

SERVER_PACKAGES = ("starlette", "uvicorn")
"""Packages of the extra `explore`."""

OPEN_AFTER_SECONDS = 0.5
"""The server answers by then; a browser that comes earlier waits for it."""


def explore(config: ExploreConfig) -> None:
    """Runs the command until a signal stops it.

    Raises:
        InputError: the packages of the server are missing, something that an option names is
            missing or damaged, or the port is in use.
    """
    _require_server()
    # Here, since these modules import the server's packages.
    from experiments.explore.guard import Guard
    from experiments.explore.server import Explorer, make_app, serve

    loader = SubjectLoader(config.classified)
    explorer = Explorer(
        loader,
        sets=open_sets(config.images),
        gans=open_gans(config.gan),
        results=check_results(config.results),
    )
    token = secrets.token_urlsafe(24)
    with bind(config.host, config.port) as listening:
        port = listening.getsockname()[1]
        shown = f"[{config.host}]" if ":" in config.host else config.host
        url = f"http://{shown}:{port}/{token}/"
        print(f"The page is at {url}\nCtrl-C ends it.", flush=True)
        loader.start()
        if config.open_browser:
            threading.Timer(OPEN_AFTER_SECONDS, webbrowser.open, (url,)).start()
        with contextlib.suppress(KeyboardInterrupt):  # the usual end of a server
            serve(Guard(make_app(explorer), token=token, host=config.host), listening)
        print("The page is closed.", flush=True)
        if loader.is_busy:  # Python's end would abort a thread within a compiled program
            os._exit(0)  # as safe as a kill: the training goes on from its last checkpoint


def bind(host: str, port: int) -> socket.socket:
    """Opens a listening socket.

    Args:
        host: name or address.
        port: port; 0 for a free one.

    Raises:
        InputError: the port is in use or not allowed, or the address is none of this machine's.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise InputError(
            f"host {host!r} is no address of this machine: {error.strerror}"
        ) from error
    listening = socket.socket(family, kind)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} of {host} is in use; give another --port, or none for a free one"
            ) from error
        raise InputError(f"cannot serve on {host}, port {port}: {error.strerror}") from error
    return listening


def _require_server() -> None:
    missing = [name for name in SERVER_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"elicit explore needs {' and '.join(missing)}; install with: "
            "pip install 'elicit-jax[explore]'"
        )
