"""Threads that go on in the flow of whoever gave them work, and a traced function.

Needs a server: `whence demo`, then WHENCE_URL and WHENCE_API_KEY as it says.
"""

from uuid import uuid4

from whence import Whence
from whence.client import ThreadPool

log = Whence()


@log.traced(
    "action_run.started", completed="action_run.completed", failed="action_run.failed", actor=("service", "bill")
)
def bill(customer: str) -> str:
    """Do some work that records what it made."""
    log.emit("artifact.created", actor=("service", "bill"), resource=("artifact", uuid4()), payload={"for": customer})
    return customer


def main() -> None:
    """Bill three customers side by side, because of one schedule."""
    due = log.emit("automation.triggered", actor=("system", "clock"), resource=("automation", uuid4()))
    with log.cause(due), ThreadPool(3) as pool:
        list(pool.map(bill, ["ana", "bo", "cy"]))
    log.flush()
    flow = list(log.events(correlation_id=due.correlation_id))
    print(len(flow), "events because of", due.id)


if __name__ == "__main__":
    main()
    log.close()
