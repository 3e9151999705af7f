import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { LogEvent } from "../api/events";
import { micros } from "../explore/periods";
import { withTerm } from "../explore/terms";
import { SentenceLine } from "../sentences/SentenceLine";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { Icon } from "../common/icons";
import { Actor, OutcomeMark } from "../common/marks";
import { usePreferences } from "../common/preferences";
import { clockTime, counted, durationWords } from "../common/times";
import { copyText } from "./clipboard";
import { ProofBadge, ProofDetails } from "./Proof";
import { visible } from "../common/visible";

const EARLIER = 4;

/** Proof, context and resource. */
export function EventSide({ event, earlier, total }: { event: LogEvent; earlier: readonly LogEvent[]; total: number | undefined }) {
  const { zone } = usePreferences();
  const words = useWords();
  const recorded = clockTime(event.recordedAt, zone);
  return (
    <div className="event-side" tabIndex={0} role="region" aria-label="Proof, context and resource">
      <div className="lab">Proof</div>
      <div className="card proof">
        <p className="fx g2">
          <Icon name="integrity" />
          <ProofBadge event={event} />
        </p>
        <ProofDetails event={event} />
      </div>
      <div className="lab sec">Context</div>
      <dl className="kv">
        <Fact name="Actor" filter={["actor", `${event.actorType}/${event.actorId}`]}>
          <Link className="cut" to="/actors/$actorType/$actorId" params={{ actorType: event.actorType, actorId: event.actorId }}>
            <Actor type={event.actorType} id={event.actorId} />
          </Link>
        </Fact>
        <Fact name="Actor type">{event.actorType}</Fact>
        <Fact name="Resource" filter={["resource", `${event.resourceType}/${event.resourceId}`]}>
          <Link className="mono cut" to="/r/$resourceType/$resourceId" params={{ resourceType: event.resourceType, resourceId: event.resourceId }}>
            {event.resourceType} {event.resourceId.slice(0, 8)}
          </Link>
        </Fact>
        <Fact name="Flow" filter={["flow", event.correlationId]}>
          <Link className="mono cut" to="/flows/$flowId" params={{ flowId: event.correlationId }}>
            <bdi>{visible(event.correlationId)}</bdi>
          </Link>
        </Fact>
        <Fact name="Event type" filter={["type", event.eventType]}>
          <span className="mono cut">{event.eventType}</span>
        </Fact>
        <Fact name="Tenant">{event.tenantId}</Fact>
        <Fact name="Event id" copied={event.id}>
          <span className="mono cut">{event.id}</span>
        </Fact>
        {event.causationId !== null && (
          <Fact name="Cause id" copied={event.causationId}>
            <span className="mono cut">{event.causationId}</span>
          </Fact>
        )}
        <Fact name="Recorded">
          {recorded.date} {recorded.time}
          {recorded.milliseconds}
        </Fact>
      </dl>
      <div className="lab sec">
        <span className="nw">This resource</span> <span className="n nw grow">{total !== undefined && counted(total, "event")}</span>
        <Link className="link nw" to="/r/$resourceType/$resourceId" params={{ resourceType: event.resourceType, resourceId: event.resourceId }}>
          Its timeline
        </Link>
      </div>
      <ul className="spine" aria-label="Events of this resource before this one">
        {earlier
          .slice(0, EARLIER)
          .reverse()
          .map((other, index) => (
            <li key={other.id} className={`sp${index === 0 ? " first" : ""}`}>
              <span className="nd">
                <OutcomeMark outcome={other.outcome} />
              </span>
              <Link className="cut" to="/e/$eventId" params={{ eventId: other.id }}>
                <SentenceLine sentence={sentenceOfEvent(other, words)} actorType={other.actorType} />
              </Link>
              <span className="xs t3 nw">−{durationWords(micros(event.occurredAt) - micros(other.occurredAt))}</span>
            </li>
          ))}
        <li className={`sp cur last${earlier.length === 0 ? " first" : ""}`}>
          <span className="nd">
            <OutcomeMark outcome={event.outcome} />
          </span>
          <span className="b">This event</span>
          <span />
        </li>
      </ul>
    </div>
  );
}

/** A fact, with what can be done with it: filter for it or out, or copy it. */
function Fact({ name, filter, copied, children }: { name: string; filter?: [string, string]; copied?: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd className="fact">
        {children}
        <span className="acts">
          {filter && (
            <>
              <Link to="/explore" search={{ q: withTerm("", ...filter) }} aria-label={`Filter for this ${name.toLowerCase()}`} title="Filter for">
                <Icon name="plus" small />
              </Link>
              <Link to="/explore" search={{ q: withTerm("", ...filter, true) }} aria-label={`Filter out this ${name.toLowerCase()}`} title="Filter out">
                <Icon name="minus" small />
              </Link>
            </>
          )}
          {copied && (
            <button aria-label={`Copy the ${name.toLowerCase()}`} title="Copy" onClick={() => void copyText(copied)}>
              <Icon name="copy" small />
            </button>
          )}
        </span>
      </dd>
    </>
  );
}
