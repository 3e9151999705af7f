import { Link } from "@tanstack/react-router";
import type { LogEvent } from "../api/events";
import { SentenceLine } from "../sentences/SentenceLine";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { asOutcome, OutcomeMark } from "../common/marks";
import { When } from "../common/When";

/** An event in a timeline: its mark, when, and what it says. */
export function EventRow({ event, isOtherFlow }: { event: LogEvent; isOtherFlow: boolean }) {
  const words = useWords();
  return (
    <li className={isOtherFlow ? "tl-row cutline" : "tl-row"}>
      <OutcomeMark outcome={asOutcome(event.outcome)} />
      <span className="xs t2 tl-time">
        <When at={event.occurredAt} />
      </span>
      <Link to="/e/$eventId" params={{ eventId: event.id }} search={{}} className="row-link tl-said">
        <SentenceLine sentence={sentenceOfEvent(event, words)} actorType={event.actorType} />
      </Link>
      <Link to="/trace/$eventId" params={{ eventId: event.id }} search={{}} className="link xs only-wide" aria-label={`Why: trace of the event at position ${event.position}`}>
        Why
      </Link>
    </li>
  );
}
