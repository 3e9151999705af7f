import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Fragment, useId } from "react";
import type { LogEvent } from "../api/events";
import { payloadTextOf } from "../api/events";
import { Icon } from "../common/icons";
import { Actor } from "../common/marks";
import { useRowKeys } from "../common/rowkeys";
import { ErrorState, Loading } from "../common/states";
import { counted, durationWords, grouped } from "../common/times";
import { useZoneName, When } from "../common/When";
import { PayloadTree } from "../event/PayloadTree";
import type { Search } from "../common/search";
import { actorLanes, knownAt, momentAt, moments, type ActorLanes } from "./asof";
import { AddBeside } from "./Beside";
import { EventRow, type Lane } from "./EventRow";
import { listsOf, useEventsOf } from "./events";
import { LaneMarks } from "./LaneMarks";
import { pausesOf } from "./recent";
import { BESIDE_MAX, besideOf, besideText, causeGuides, mergedByTime, nameText, type Beside, type EventsRead, type ResourceName } from "./together";
import "../event/event.css";

/** The events of a resource, newest first: as a list or in lanes by actor, and as they were known at a moment. With others
 * beside it, the lanes are theirs. */
export function Timeline(own: ResourceName) {
  const zone = useZoneName();
  const area = useRowKeys<HTMLElement>("Timeline");
  const [search, change] = useTimelineSearch();
  const beside = besideOf(search.with, own);
  const names = [own, ...beside.names];
  const pages = useEventsOf(names);
  const lists = listsOf(pages.data?.pages ?? [], names.length);
  const inLanes = names.length > 1 || search.view === "lanes";
  return (
    <section ref={area} className="timeline">
      <div className="fx g2 tl-head">
        <h3 className="lab h grow">
          {names.length > 1 ? `Events of ${counted(names.length, "resource")}` : "Its events"} <span className="n">newest first, {zone}</span>
        </h3>
        <AddBeside shown={names} latest={lists[0]?.events[0]} onAdd={(name) => change({ with: besideText([...beside.names, name]) })} />
        {names.length === 1 && (
          <span className="seg" role="group" aria-label="How the events are shown">
            <button type="button" aria-pressed={!inLanes} onClick={() => change({ view: undefined })}>
              List
            </button>
            <button type="button" aria-pressed={inLanes} onClick={() => change({ view: "lanes" })}>
              Lanes
            </button>
          </span>
        )}
      </div>
      <LeftOut beside={beside} />
      {names.length > 1 && <ResourceLanes names={names} lists={lists} onRemove={(name) => change({ with: besideText(beside.names.filter((one) => one !== name)) })} />}
      {pages.isPending ? (
        <Loading rows={6} />
      ) : pages.isError ? (
        <ErrorState error={pages.error} />
      ) : (
        <Events names={names} lists={lists} inLanes={inLanes} />
      )}
      {pages.hasNextPage && (
        <button className="btn o" disabled={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>
          Show more
        </button>
      )}
    </section>
  );
}

/** The events that were read, as they were known at the moment in the address. */
function Events({ names, lists, inLanes }: { names: readonly ResourceName[]; lists: readonly EventsRead[]; inLanes: boolean }) {
  const [search, change] = useTimelineSearch();
  const merged = mergedByTime(lists);
  const asOf = /^\d{1,15}$/.test(search.asof ?? "") ? Number(search.asof) : null;
  const { events, later, last } = knownAt(merged.events, asOf);
  const actors = inLanes && names.length === 1 ? actorLanes(events) : null;
  const laneNames = actors ? actors.lanes.map(({ actorId }) => actorId || "all others") : names.map(nameWords);
  const laneById = new Map(merged.events.map(({ id }, index) => [id, merged.laneOf[index] ?? 0]));
  const laneOf = actors ? actors.laneOf : events.map(({ id }) => laneById.get(id) ?? 0);
  const guides = inLanes ? causeGuides(events, laneOf) : null;
  const pauses = pausesOf(events.map(({ occurredAt }) => occurredAt));
  const laneAt = (index: number): Lane | null => {
    const guide = guides?.[index];
    if (guide === undefined) return null;
    const at = laneOf[index] ?? 0;
    const words = [actors ? "" : `in ${laneNames[at]}`, guide.from === null || guide.from === at ? "" : `caused by ${laneNames[guide.from]}`];
    return { count: laneNames.length, at, guide, words: words.filter((word) => word !== "").join(", ") };
  };
  return (
    <>
      {merged.events.length > 1 && <AsOf events={merged.events} asOf={asOf} onChange={(position) => change({ asof: position === null ? undefined : String(position) })} />}
      {asOf !== null && <KnownThen last={last} known={events.length} />}
      {actors && <LaneNames lanes={actors} />}
      <ol>
        {later > 0 && <li className="tl-gap xs t3">{counted(later, "event")} recorded after that moment {later === 1 ? "is" : "are"} not shown</li>}
        {events.map((event, index) => (
          <Fragment key={event.id}>
            <EventRow event={event} isOtherFlow={index > 0 && events[index - 1]?.correlationId !== event.correlationId} lane={laneAt(index)} />
            {typeof pauses[index] === "number" && (
              <li className={`tl-gap xs t3${guides ? " laned" : ""}`}>
                {guides && <LaneMarks count={laneNames.length} guide={{ passes: guides[index]?.below ?? [] }} />}
                {durationWords(pauses[index])} before that
              </li>
            )}
          </Fragment>
        ))}
      </ol>
      {merged.held > 0 && <p className="xs t3 held">{counted(merged.held, "older event")} {merged.held === 1 ? "waits" : "wait"} until the other resources are read as far back.</p>}
    </>
  );
}

const nameWords = ({ resourceType, resourceId }: ResourceName): string => `${resourceType} ${resourceId.slice(0, 8)}`;

/** What the address asks for and is not shown. */
function LeftOut({ beside: { tooMany, unreadable } }: { beside: Beside }) {
  if (tooMany + unreadable === 0) return null;
  return (
    <p className="xs failed" role="alert">
      <Icon name="warning" small />
      <span>
        {tooMany > 0 && `The address names ${counted(tooMany, "resource")} more than the ${BESIDE_MAX} that fit beside it. `}
        {unreadable > 0 && `${unreadable === 1 ? "A part of the address is" : `${unreadable} parts of the address are`} not type/id with a UUID.`}
      </span>
    </p>
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

/** Which resource each lane is of; all but the first one can be taken away. */
function ResourceLanes({ names, lists, onRemove }: { names: readonly ResourceName[]; lists: readonly { total: number }[]; onRemove: (name: ResourceName) => void }) {
  return (
    <ol className="lane-names" aria-label="Lanes, from the left">
      {names.map((name, index) => (
        <li key={nameText(name)} className="xs">
          <span className="t3 n">{index + 1}</span>
          <Link className="link plain cut" to="/r/$resourceType/$resourceId" params={{ ...name }} search={{}} title={nameText(name)}>
            {name.resourceType} <span className="mono t2">{name.resourceId.slice(0, 8)}</span>
          </Link>
          <span className="t3">{grouped(lists[index]?.total ?? 0)}</span>
          {index > 0 && (
            <button type="button" className="btn sq" aria-label={`Take ${nameWords(name)} away`} onClick={() => onRemove(name)}>
              <Icon name="close" small />
            </button>
          )}
        </li>
      ))}
    </ol>
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
