import { Link } from "@tanstack/react-router";
import type { LogEvent } from "../api/events";
import { SentenceLine } from "../sentences/SentenceLine";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { asOutcome, OutcomeMark } from "../common/marks";
import { When } from "../common/When";
import { LaneMarks } from "./LaneMarks";
import type { CauseGuide } from "./together";

export interface Lane {
  count: number;
  at: number;
  guide: CauseGuide;
  /** The lanes in words, for screen readers. */
  words: string;
}

interface Props {
  event: LogEvent;
  isOtherFlow: boolean;
  /** In which of how many lanes it lies, if there are lanes. */
  lane?: Lane | null;
}

/** An event in a timeline: its mark, when, and what it says. */
export function EventRow({ event, isOtherFlow, lane }: Props) {
  const words = useWords();
  const mark = <OutcomeMark outcome={asOutcome(event.outcome)} />;
  return (
    <li className={`tl-row${isOtherFlow ? " cutline" : ""}${lane ? " laned" : ""}`}>
      {lane ? <LaneMarks {...lane}>{mark}</LaneMarks> : mark}
      <span className="xs t2 tl-time">
        <When at={event.occurredAt} />
      </span>
      <Link to="/e/$eventId" params={{ eventId: event.id }} search={{}} className="row-link tl-said">
        <SentenceLine sentence={sentenceOfEvent(event, words)} actorType={event.actorType} />
        {lane && <span className="visually-hidden"> {lane.words}</span>}
      </Link>
      <Link to="/trace/$eventId" params={{ eventId: event.id }} search={{}} className="link xs only-wide" aria-label={`Why: trace of the event at position ${event.position}`}>
        Why
      </Link>
    </li>
  );
}
