"""Start the service and the worker, send one message, and ask why it failed.

Needs a server: run `whence demo`, and set WHENCE_URL and WHENCE_API_KEY as it prints them. Needs
`pip install whence[celery,langgraph] fastapi uvicorn`.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from whence import Whence

HERE = Path(__file__).parent
WAIT_S = 60


@contextmanager
def running(*command: str, env: dict[str, str]) -> Iterator[None]:
    """A program in the folder of this example, until the end of the block."""
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=HERE, env=env)  # noqa: S603  (the commands below)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def send(port: int) -> None:
    """Send the message of a customer, as soon as the service answers."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            request = {"params": {"message": "Please refund order 8841."}, "headers": {"X-Customer": "ana"}}
            httpx2.post(f"http://127.0.0.1:{port}/messages", **request).raise_for_status()
            return
        except httpx2.ConnectError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def main() -> None:
    """Run the flow, and print why its task failed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, Whence() as log:
        env = os.environ | {"EXAMPLE_QUEUE": folder}
        service = ("uvicorn", "service:app", "--port", str(port), "--log-level", "error")
        worker = ("celery", "-A", "tasks", "--quiet", "worker", "--concurrency", "1", "--loglevel", "CRITICAL")
        with running(*service, env=env), running(*worker, env=env):
            send(port)
            deadline = time.monotonic() + WAIT_S
            while not (failed := log.list(event_type="action_run.failed", actor_type="service").events):
                if time.monotonic() > deadline:
                    raise SystemExit("The task has not failed in time. Is the server the one that WHENCE_URL names?")
                time.sleep(0.2)
    subprocess.run([sys.executable, "-m", "whence", "why", failed[0].id], check=True)  # noqa: S603  (our own command)


if __name__ == "__main__":
    main()
