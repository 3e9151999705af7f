import { Link } from "@tanstack/react-router";
import type { LogEvent } from "../api/events";
import { SentenceLine } from "../sentences/SentenceLine";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { asOutcome, OutcomeMark } from "../common/marks";
import { When } from "../common/When";

const LANE_PX = 20;

interface Props {
  event: LogEvent;
  isOtherFlow: boolean;
  /** In which of how many lanes it lies, if there are lanes. */
  lane?: { count: number; at: number } | null;
}

/** An event in a timeline: its mark, when, and what it says. */
export function EventRow({ event, isOtherFlow, lane }: Props) {
  const words = useWords();
  return (
    <li className={`tl-row${isOtherFlow ? " cutline" : ""}${lane ? " laned" : ""}`}>
      {lane ? (
        <span className="lanes" style={{ width: lane.count * LANE_PX }}>
          <span style={{ marginLeft: lane.at * LANE_PX }}>
            <OutcomeMark outcome={asOutcome(event.outcome)} />
          </span>
        </span>
      ) : (
        <OutcomeMark outcome={asOutcome(event.outcome)} />
      )}
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
