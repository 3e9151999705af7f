"""A FastAPI service that takes messages of customers, and leaves the answers to a worker.

Start it with `uvicorn service:app`.
"""

from typing import Any

from fastapi import FastAPI
from support_agent import log
from tasks import answer

from whence.integrations.asgi import WhenceMiddleware


def customer(scope: Any) -> tuple[str, str]:
    """Who sent a request. A real service reads this from a session or token."""
    headers = dict(scope["headers"])
    return "user", headers[b"x-customer"].decode()


api = FastAPI()


@api.post("/messages", status_code=202)
def take(message: str) -> None:
    """Take a message."""
    answer.delay(message)


app = WhenceMiddleware(api, log, actor=customer)
