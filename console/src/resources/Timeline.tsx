import { useNavigate, useSearch } from "@tanstack/react-router";
import { Fragment, useId } from "react";
import type { EventPage, LogEvent } from "../api/events";
import { payloadTextOf } from "../api/events";
import { Icon } from "../common/icons";
import { Actor } from "../common/marks";
import { usePages } from "../common/paging";
import { useRowKeys } from "../common/rowkeys";
import { ErrorState, Loading } from "../common/states";
import { counted, durationWords, grouped } from "../common/times";
import { useZoneName, When } from "../common/When";
import { PayloadTree } from "../event/PayloadTree";
import type { Search } from "../router";
import { actorLanes, knownAt, momentAt, moments, type ActorLanes } from "./asof";
import { EventRow } from "./EventRow";
import { pausesOf } from "./recent";
import "../event/event.css";

/** The events of a resource, newest first: as a list or in lanes by actor, and as they were known at a moment. */
export function Timeline({ resourceType, resourceId }: { resourceType: string; resourceId: string }) {
  const zone = useZoneName();
  const area = useRowKeys<HTMLElement>("Timeline");
  const [search, change] = useTimelineSearch();
  const path = `api/v1/events/resource/${encodeURIComponent(resourceType)}/${encodeURIComponent(resourceId)}`;
  const pages = usePages<EventPage>(path, { limit: 50, include: "position,recordedAt,outcome" });
  if (pages.isPending) return <Loading rows={6} />;
  if (pages.isError) return <ErrorState error={pages.error} />;
  const all = pages.data.pages.flatMap(({ body }) => body.events);
  const asOf = /^\d{1,15}$/.test(search.asof ?? "") ? Number(search.asof) : null;
  const { events, later, last } = knownAt(all, asOf);
  const inLanes = search.view === "lanes";
  const lanes = inLanes ? actorLanes(events) : null;
  const pauses = pausesOf(events.map(({ occurredAt }) => occurredAt));
  return (
    <section ref={area} className="timeline">
      <div className="fx g2 tl-head">
        <h3 className="lab h grow">
          Its events <span className="n">newest first, {zone}</span>
        </h3>
        <span className="seg" role="group" aria-label="How the events are shown">
          <button type="button" aria-pressed={!inLanes} onClick={() => change({ view: undefined })}>
            List
          </button>
          <button type="button" aria-pressed={inLanes} onClick={() => change({ view: "lanes" })}>
            Lanes
          </button>
        </span>
      </div>
      {all.length > 1 && <AsOf events={all} asOf={asOf} onChange={(position) => change({ asof: position === null ? undefined : String(position) })} />}
      {asOf !== null && <KnownThen last={last} known={events.length} />}
      {lanes && <LaneNames lanes={lanes} />}
      <ol>
        {later > 0 && <li className="tl-gap xs t3">{counted(later, "event")} recorded after that moment {later === 1 ? "is" : "are"} not shown</li>}
        {events.map((event, index) => (
          <Fragment key={event.id}>
            <EventRow
              event={event}
              isOtherFlow={index > 0 && events[index - 1]?.correlationId !== event.correlationId}
              lane={lanes ? { count: lanes.lanes.length, at: lanes.laneOf[index] ?? 0 } : null}
            />
            {typeof pauses[index] === "number" && <li className="tl-gap xs t3">{durationWords(pauses[index])} before that</li>}
          </Fragment>
        ))}
      </ol>
      {pages.hasNextPage && (
        <button className="btn o" disabled={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>
          Show more
        </button>
      )}
    </section>
  );
}

/** The state of the timeline, which is in its address. */
function useTimelineSearch() {
  const search = useSearch({ strict: false }) as Search;
  const navigate = useNavigate();
  const change = (changed: Search) =>
    void navigate({ to: ".", search: { ...search, ...changed } as never, replace: true, resetScroll: false });
  return [search, change] as const;
}

/** Goes back to what was recorded up to an event, and forward again. */
function AsOf({ events, asOf, onChange }: { events: readonly LogEvent[]; asOf: number | null; onChange: (position: number | null) => void }) {
  const id = useId();
  const positions = moments(events);
  const at = momentAt(positions, asOf);
  const position = positions[at] ?? 0;
  const event = events.find((each) => each.position === position);
  const words = asOf === null ? "now" : `position ${grouped(position)}, ${counted(at + 1, "event")} known`;
  return (
    <div className="asof">
      <label htmlFor={id}>As of</label>
      <input
        id={id}
        type="range"
        min={0}
        max={positions.length - 1}
        value={at}
        aria-valuetext={words}
        onChange={(change) => {
          const next = Number(change.target.value);
          onChange(next === positions.length - 1 ? null : (positions[next] ?? null));
        }}
      />
      <span className="xs t2 asof-words">
        {asOf === null || !event ? (
          "now"
        ) : (
          <>
            <When at={event.recordedAt} /> · position {grouped(position)}
          </>
        )}
      </span>
      {asOf !== null && (
        <button type="button" className="btn small" onClick={() => onChange(null)}>
          Now
        </button>
      )}
    </div>
  );
}

/** The newest event that was known at the moment, with what it said. */
function KnownThen({ last, known }: { last: LogEvent | undefined; known: number }) {
  if (!last) return <p className="t2">Nothing was known of it then.</p>;
  return (
    <div className="known">
      <p className="xs t2">
        Known then: {counted(known, "event")} of those shown; the newest was <span className="mono">{last.eventType}</span>.
      </p>
      <details>
        <summary>Its payload</summary>
        <PayloadTree text={payloadTextOf(last)} sought="" />
      </details>
    </div>
  );
}

function LaneNames({ lanes }: { lanes: ActorLanes }) {
  return (
    <ol className="lane-names" aria-label="Lanes, from the left">
      {lanes.lanes.map((lane, index) => (
        <li key={lane.key} className="xs">
          <span className="t3 n">{index + 1}</span>
          {lane.key === "others" ? (
            <>
              <Icon name="more" small /> all others
            </>
          ) : (
            <Actor type={lane.actorType} id={lane.actorId} />
          )}
          <span className="t3">{grouped(lane.events)}</span>
        </li>
      ))}
    </ol>
  );
}
