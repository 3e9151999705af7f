import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { payloadTextOf } from "../api/events";
import { CopyMenu } from "../event/CopyMenu";
import { PayloadTree } from "../event/PayloadTree";
import { ProofBadge } from "../event/Proof";
import { eventOptions } from "../explore/answers";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { Icon } from "../common/icons";
import { usePreferences } from "../common/preferences";
import { ErrorState, Loading } from "../common/states";
import { clockTime, durationWords, grouped } from "../common/times";
import { at, timeOf, type Graph } from "./graph";
import { shortId } from "./words";
import { visible } from "../common/visible";

interface Props {
  graph: Graph;
  node: number;
  onClose: () => void;
}

/** The event of the row under the cursor, beside the tree. Its payload is loaded only now. */
export function TracePeek({ graph, node, onClose }: Props) {
  const event = at(graph.nodes, node);
  const start = at(graph.starts, node);
  const end = at(graph.ends, node);
  const isFocus = node === graph.focus;
  return (
    <aside className="peek" aria-label="Selected event">
      <div className="ph">
        <span>{event.position === null ? shortId(event.id) : `Position ${grouped(event.position)}`}</span>
        <span className="grow" />
        <CopyOf id={event.id} />
        <Link className="btn sq" to="/e/$eventId" params={{ eventId: event.id }} aria-label="Open the event" title="Open the event">
          <Icon name="open" />
        </Link>
        <button className="btn sq" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </div>
      <div className="pb" tabIndex={0} role="region" aria-label="Payload and context">
        <PayloadOf id={event.id} title="Payload" note={event.eventType} isFirst />
        {start >= 0 && <PayloadOf id={at(graph.nodes, start).id} title="Its start" note={`same resource, ${durationWords(timeOf(event) - timeOf(at(graph.nodes, start)))} before`} />}
        {end >= 0 && <PayloadOf id={at(graph.nodes, end).id} title="Its end" note={`same resource, ${durationWords(timeOf(at(graph.nodes, end)) - timeOf(event))} after`} />}
        <Context graph={graph} node={node} />
      </div>
      <div className="pf">
        <ProofOf id={event.id} />
        <span className="grow" />
        {!isFocus && (
          <Link className="lk" to="/trace/$eventId" params={{ eventId: event.id }}>
            Why this? <kbd>w</kbd>
          </Link>
        )}
      </div>
    </aside>
  );
}

function PayloadOf({ id, title, note, isFirst }: { id: string; title: string; note: string; isFirst?: boolean }) {
  const query = useQuery({ ...eventOptions(id), staleTime: Infinity });
  return (
    <section className={isFirst ? undefined : "sec"}>
      <h3 className="lab">
        {title} <span className="t3 n">{note}</span>
      </h3>
      {query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} /> : null}
      {query.isPending ? <Loading rows={3} /> : null}
      {query.data !== undefined && <PayloadTree text={payloadTextOf(query.data)} erasedAt={query.data.erasedAt} />}
    </section>
  );
}

/** What is known of the event's proof, once the event is loaded. */
function ProofOf({ id }: { id: string }) {
  const { data } = useQuery({ ...eventOptions(id), staleTime: Infinity });
  if (data === undefined) return null;
  return (
    <>
      <Icon name="integrity" />
      <ProofBadge event={data} />
    </>
  );
}

/** Copies the event once it is loaded. */
function CopyOf({ id }: { id: string }) {
  const { data } = useQuery({ ...eventOptions(id), staleTime: Infinity });
  const words = useWords();
  if (data === undefined) return null;
  return (
    <CopyMenu event={data} sentence={sentenceOfEvent(data, words)} className="btn sq">
      <Icon name="copy" />
    </CopyMenu>
  );
}

function Context({ graph, node }: { graph: Graph; node: number }) {
  const { zone } = usePreferences();
  const event = at(graph.nodes, node);
  const { date, time, milliseconds } = clockTime(event.occurredAt, zone);
  return (
    <section className="sec">
      <dl className="kv">
        <dt>Event type</dt>
        <dd className="mono cut">{event.eventType}</dd>
        <dt>Resource</dt>
        <dd className="mono cut">
          <Link className="lk" to="/r/$resourceType/$resourceId" params={{ resourceType: event.resourceType, resourceId: event.resourceId }}>
            {event.resourceType} {shortId(event.resourceId)}
          </Link>
        </dd>
        <dt>Flow</dt>
        <dd className="mono cut">{visible(event.correlationId)}</dd>
        <dt>Occurred</dt>
        <dd className="cut">
          {date} {time}
          {milliseconds} {zone === "utc" ? "UTC" : "local"}
        </dd>
        <dt>Event id</dt>
        <dd className="mono cut">{event.id}</dd>
      </dl>
    </section>
  );
}
