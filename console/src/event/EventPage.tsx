import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import type { LogEvent } from "../api/events";
import { eventOptions } from "../explore/answers";
import { withTerm } from "../explore/terms";
import { Bar } from "../frame/Bar";
import { BarTools } from "../frame/Screen";
import { shownDetail, type FullSentence } from "../sentences/sentences";
import { SentenceHead } from "../sentences/SentenceLine";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { Icon } from "../common/icons";
import { OutcomeMark } from "../common/marks";
import { usePreferences } from "../common/preferences";
import { useShortcuts } from "../common/shortcuts";
import { ErrorState, Loading } from "../common/states";
import { clockTime, durationWords, grouped } from "../common/times";
import { resourceBeforeOptions, traceOptions } from "./answers";
import { CopyMenu } from "./CopyMenu";
import { EventSide } from "./EventSide";
import { EventStory } from "./EventStory";
import { PayloadPanel } from "./PayloadPanel";
import { becauseOf, type Trace } from "./story";
import "../explore/explore.css";
import "./event.css";
import { visible } from "../common/visible";

/** One event: what happened, why, what it led to, and what was recorded of it. */
export function EventPage() {
  const { eventId = "" } = useParams({ strict: false }) as { eventId?: string };
  const { data: event, error } = useQuery(eventOptions(eventId));
  const words = useWords();
  return (
    <>
      <Bar>
        <nav className="crumb grow" aria-label="Where this is">
          <span className="t3">/</span>
          <Link to="/explore" className="cut">
            Explore
          </Link>
          <span className="t3">/</span>
          <b className="cut">
            Event <span className="mono">{eventId.slice(0, 8)}</span>
          </b>
        </nav>
        <BarTools />
      </Bar>
      {error ? <ErrorState error={error} /> : event && words ? <Shown key={event.id} event={event} /> : <Loading />}
    </>
  );
}

function Shown({ event }: { event: LogEvent }) {
  const words = useWords();
  const sentence = useNamed(event, sentenceOfEvent(event, words));
  const up = useQuery(traceOptions(event.id, "up"));
  const down = useQuery(traceOptions(event.id, "down"));
  const before = useQuery(resourceBeforeOptions(event));
  return (
    <>
      <Head event={event} sentence={sentence} up={up.data} down={down.data} />
      <div className="event-body">
        <div className="event-main" tabIndex={0} role="region" aria-label="Causes, effects and payload">
          <EventStory event={event} up={up} down={down} />
          <PayloadPanel event={event} before={before.data?.earlier[0]} />
        </div>
        <EventSide event={event} earlier={before.data?.earlier ?? []} total={before.data?.total} />
      </div>
    </>
  );
}

/** A failure without a name for its object takes that of the event before it on the resource, as lists do. */
function useNamed(event: LogEvent, sentence: FullSentence): FullSentence {
  const words = useWords();
  const { data } = useQuery(resourceBeforeOptions(event));
  const start = data?.earlier.find((other) => other.eventType === event.eventType.replace(/\.[^.]*$/, ".started"));
  if (!sentence.isFailure || sentence.isNamed || !sentence.object || !start) return sentence;
  const its = sentenceOfEvent(start, words);
  return its.isNamed ? { ...sentence, object: its.object, isNamed: true } : sentence;
}

function Head({ event, sentence, up, down }: { event: LogEvent; sentence: FullSentence; up: Trace | undefined; down: Trace | undefined }) {
  const { zone } = usePreferences();
  const navigate = useNavigate();
  const { date, time, milliseconds } = clockTime(event.occurredAt, zone);
  const cause = event.causationId !== null && up?.nodes.some((node) => node.id === event.causationId) ? event.causationId : null;
  const effect = down?.nodes.find((node) => node.causationId === event.id && !node.cycle)?.id ?? null;
  const open = (eventId: string | null) => eventId !== null && void navigate({ to: "/e/$eventId", params: { eventId } });
  const explore = (name: string, value: string) => void navigate({ to: "/explore", search: { q: withTerm("", name, value) } });
  useShortcuts("Event", [
    { keys: "w", does: "Why: open the trace", run: () => void navigate({ to: "/trace/$eventId", params: { eventId: event.id } }) },
    { keys: "[", does: "Go to the cause", run: () => open(cause) },
    { keys: "]", does: "Go to the first effect", run: () => open(effect) },
    { keys: "e", does: "Explore what it caused", run: () => explore("cause", event.id) },
    { keys: "f", does: "Filter for its type", run: () => explore("type", event.eventType) },
    {
      keys: "r",
      does: "Open its resource",
      run: () => void navigate({ to: "/r/$resourceType/$resourceId", params: { resourceType: event.resourceType, resourceId: event.resourceId } }),
    },
    {
      keys: "a",
      does: "Open its actor",
      run: () => void navigate({ to: "/actors/$actorType/$actorId", params: { actorType: event.actorType, actorId: event.actorId } }),
    },
  ]);
  const took = up && tookUs(event, up);
  return (
    <header className="event-head">
      <div className="event-title">
        <OutcomeMark outcome={event.outcome} size={20} />
        <h1>
          <SentenceHead sentence={sentence} actorType={event.actorType} />
        </h1>
        <div className="event-acts">
          <button className="btn o" disabled={cause === null} onClick={() => open(cause)}>
            <Icon name="up" />
            Cause <kbd>[</kbd>
          </button>
          <button className="btn o" disabled={effect === null} onClick={() => open(effect)}>
            <Icon name="effects" />
            First effect <kbd>]</kbd>
          </button>
          <CopyMenu event={event} sentence={sentence} className="btn o">
            <Icon name="copy" />
            Copy <kbd>c</kbd>
          </CopyMenu>
          <Link className="btn p" to="/trace/$eventId" params={{ eventId: event.id }}>
            <Icon name="flows" />
            Open trace <kbd>w</kbd>
          </Link>
        </div>
      </div>
      {sentence.detail && (
        <p className="t2 event-detail">
          <bdi>{visible(shownDetail(sentence))}</bdi>
        </p>
      )}
      <p className="t3 xs event-meta">
        <time dateTime={event.occurredAt}>
          {date} {time}
          {milliseconds} {zone === "utc" ? "UTC" : "local"}
        </time>
        <span className="mono">{event.eventType}</span>
        <span>position {grouped(event.position)}</span>
        {took !== undefined && took !== null && <span>took {durationWords(took)}</span>}
      </p>
    </header>
  );
}

/** How long a run took, if the event ends it: the time since its cause, if that started the same resource. */
function tookUs(event: LogEvent, up: Trace): number | null {
  const cause = up.nodes.find((node) => node.id === event.causationId);
  const isStart = cause?.eventType === event.eventType.replace(/\.[^.]*$/, ".started") && cause.resourceId === event.resourceId;
  const row = isStart ? becauseOf(up, { near: 1, failures: 0 }).rows.at(-2) : undefined;
  return row?.kind === "event" && row.sinceUs <= 0 ? -row.sinceUs : null;
}
