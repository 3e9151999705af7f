"""Emit a request, a decision and a failed run, each caused by the one before, and read the flow back.

Needs a server: run `whence demo`, and set WHENCE_URL and WHENCE_API_KEY as it prints them.
"""

from uuid import uuid4

from whence import Whence


def main() -> None:
    """Emit a flow of three events, and print it in order."""
    with Whence() as log:
        request = log.emit("inbound_message.received", actor=("user", "ana"), resource=("inbound_message", uuid4()))
        with log.cause(request), log.bind(actor=("agent", "planner")):
            decision = log.emit("decision.made", resource=("decision", uuid4()), payload={"plan": "refund"})
            with log.cause(decision):
                log.emit("action_run.failed", resource=("action_run", uuid4()), payload={"error": "card_declined"})
        log.flush()
        for event in log.events(correlation_id=request.correlation_id, order="asc"):
            print(event.event_type, "by", event.actor_id)


if __name__ == "__main__":
    main()
