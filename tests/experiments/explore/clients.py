"""A client of the page's server, and what a page would ask for."""

import warnings

from experiments.explore.guard import Guard
from experiments.explore.server import Explorer, make_app

with warnings.catch_warnings():
    # Starlette would rather have httpx2, but takes httpx.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

TOKEN = "a-token"  # noqa: S105 - of the tests' own server

LINEAR = "tests.experiments.explore.linear_classifier:linear"

RULE = {"rule": "sgd", "rule_options": ["learning_rate=3.0"], "steps": 4, "tolerance": None}


def client_of(explorer: Explorer, *, host: str = "127.0.0.1") -> TestClient:
    guarded = Guard(make_app(explorer), token=TOKEN, host=host)
    return TestClient(guarded, f"http://127.0.0.1:8000/{TOKEN}/", raise_server_exceptions=False)
