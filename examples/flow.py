"""A request, a decision and a failed run, each caused by the one before; and the story read back.

Needs a server: `whence demo`, then WHENCE_URL and WHENCE_API_KEY as it says.
"""

from uuid import uuid4

from whence import Whence


def main() -> None:
    """Emit a flow, and print it."""
    with Whence() as log:
        asked = log.emit("inbound_message.received", actor=("user", "ana"), resource=("inbound_message", uuid4()))
        with log.cause(asked), log.bind(actor=("agent", "planner")):
            decided = log.emit("decision.made", resource=("decision", uuid4()), payload={"plan": "refund"})
            with log.cause(decided):
                log.emit("action_run.failed", resource=("action_run", uuid4()), payload={"error": "card_declined"})
        log.flush()
        for event in log.events(correlation_id=asked.correlation_id, order="asc"):
            print(event.event_type, "by", event.actor_id)


if __name__ == "__main__":
    main()
