"""Emit from worker threads that inherit the cause and flow, and record every call of a function.

Needs a server: run `whence demo`, and set WHENCE_URL and WHENCE_API_KEY as it prints them.
"""

from uuid import uuid4

from whence import Whence
from whence.client import ContextThreadPoolExecutor

log = Whence()


@log.traced(
    "action_run.started", completed="action_run.completed", failed="action_run.failed", actor=("service", "bill")
)
def bill(customer: str) -> str:
    """Record the artifact that this work produced."""
    log.emit("artifact.created", actor=("service", "bill"), resource=("artifact", uuid4()), payload={"for": customer})
    return customer


def main() -> None:
    """Bill three customers in parallel, because one schedule was due."""
    due = log.emit("automation.triggered", actor=("system", "clock"), resource=("automation", uuid4()))
    with log.cause(due), ContextThreadPoolExecutor(3) as pool:
        list(pool.map(bill, ["ana", "bo", "cy"]))
    log.flush()
    flow = list(log.events(correlation_id=due.correlation_id))
    print(len(flow), "events because of", due.id)


if __name__ == "__main__":
    main()
    log.close()
