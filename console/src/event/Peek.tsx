import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useRef, useState, type KeyboardEvent, type PointerEvent } from "react";
import { payloadTextOf, type LogEvent } from "../api/events";
import { eventOptions, PAYLOAD } from "../explore/answers";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { shownDetail, type FullSentence } from "../sentences/sentences";
import { Icon } from "../common/icons";
import { Actor, OutcomeMark } from "../common/marks";
import { usePreferences } from "../common/preferences";
import { ErrorState, Loading } from "../common/states";
import { clockTime, counted, grouped } from "../common/times";
import { traceOptions } from "./answers";
import { CopyMenu } from "./CopyMenu";
import { payloadRows } from "./payload";
import { ERASED, PayloadTree } from "./PayloadTree";
import { becauseWords, ledToWords, Spine } from "./Spine";
import { becauseOf, ledToOf } from "./story";
import "./event.css";
import { ProofBadge } from "./Proof";
import { visible } from "../common/visible";

const ROOM = { near: 2, failures: 1 };
const [NARROWEST, USUAL, WIDEST] = [320, 388, 640];

interface Props {
  id: string;
  /** The event, where it is known already. */
  known: LogEvent | undefined;
  sentence: FullSentence | undefined;
  onClose: () => void;
  onFilter?: (name: string, value: string, isExcluded: boolean) => void;
}

/** An event beside the list: why it came, what it led to, and what it says. */
export function Peek({ id, known, sentence, onClose, onFilter }: Props) {
  const { data, error } = useQuery({ ...eventOptions(id), enabled: known === undefined });
  const words = useWords();
  const event = known ?? data;
  const [width, setWidth] = useState<number | null>(null);
  return (
    <aside className="peek" aria-label="Event" style={width === null ? undefined : ({ "--peek": `${width}px` } as React.CSSProperties)}>
      <Grip width={width ?? USUAL} onWidth={setWidth} />
      {event ? (
        <PeekBody event={event} sentence={sentence ?? sentenceOfEvent(event, words)} onClose={onClose} onFilter={onFilter} />
      ) : (
        <>
          <div className="ph">
            <span className="grow" />
            <button className="btn sq" aria-label="Close" onClick={onClose}>
              <Icon name="close" />
            </button>
          </div>
          {error ? <ErrorState error={error} /> : <Loading />}
        </>
      )}
    </aside>
  );
}

interface BodyProps {
  event: LogEvent;
  sentence: FullSentence;
  onClose: () => void;
  onFilter: Props["onFilter"] | undefined;
}

function PeekBody({ event, sentence, onClose, onFilter }: BodyProps) {
  const { zone } = usePreferences();
  const up = useQuery(traceOptions(event.id, "up"));
  const down = useQuery(traceOptions(event.id, "down"));
  const { date, time, milliseconds } = clockTime(event.occurredAt, zone);
  const because = up.data && becauseOf(up.data, ROOM);
  const payload = payloadTextOf(event);
  return (
    <>
      <div className="ph">
        <span className="cut">
          Position {grouped(event.position)}
          {because && because.hops > 0 && ` · ${counted(because.hops, "cause")}`}
        </span>
        <span className="grow" />
        <Link className="btn sq" to="/trace/$eventId" params={{ eventId: event.id }} aria-label="Why: open the trace" title="Why">
          <Icon name="flows" />
        </Link>
        <CopyMenu event={event} sentence={sentence} className="btn sq">
          <Icon name="copy" />
        </CopyMenu>
        <Link className="btn sq" to="/e/$eventId" params={{ eventId: event.id }} aria-label="Open the page of this event" title="Open">
          <Icon name="open" />
        </Link>
        <button className="btn sq" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </div>
      <div className="pb" tabIndex={0}>
        <h2>
          <OutcomeMark outcome={event.outcome} size={16} />
          <span className="any">
            <bdi>{visible(sentence.object || sentence.actor)}</bdi> {sentence.verb}
          </span>
        </h2>
        {sentence.detail && (
          <p className="quote any">
            <bdi>{visible(shownDetail(sentence))}</bdi>
          </p>
        )}
        <p className="xs t3 meta">
          {date} {time}
          {milliseconds} {zone === "utc" ? "UTC" : "local"} · <Actor type={event.actorType} id={event.actorId} />
        </p>
        <Story event={event} up={up} down={down} />
        <section className="sec">
          <h3>
            Payload <span className="n">{payloadWords(payload)}</span>
          </h3>
          <PayloadTree
            text={payload}
            erasedAt={event.erasedAt}
            onFilter={onFilter && ((path, value, isExcluded) => onFilter(PAYLOAD + path, value, isExcluded))}
          />
        </section>
        <dl className="kv sec">
          <Fact name="Event type" value={event.eventType} onFilter={onFilter && ((not) => onFilter("type", event.eventType, not))} />
          <dt>Resource</dt>
          <dd className="mono cut">
            <Link to="/r/$resourceType/$resourceId" params={{ resourceType: event.resourceType, resourceId: event.resourceId }} className="link">
              {event.resourceType} {event.resourceId}
            </Link>
          </dd>
          <Fact name="Flow" value={event.correlationId} onFilter={onFilter && ((not) => onFilter("flow", event.correlationId, not))} />
        </dl>
      </div>
      <div className="pf">
        <Icon name="integrity" />
        <ProofBadge event={event} />
      </div>
    </>
  );
}

function Fact({ name, value, onFilter }: { name: string; value: string; onFilter: ((isExcluded: boolean) => void) | undefined }) {
  return (
    <>
      <dt>{name}</dt>
      <dd className="mono fact">
        <bdi className="cut">{visible(value)}</bdi>
        {onFilter && (
          <span className="acts">
            <button aria-label={`Filter for ${name} ${value}`} title="Filter for" onClick={() => onFilter(false)}>
              <Icon name="plus" small />
            </button>
            <button aria-label={`Filter out ${name} ${value}`} title="Filter out" onClick={() => onFilter(true)}>
              <Icon name="minus" small />
            </button>
          </span>
        )}
      </dd>
    </>
  );
}

function payloadWords(payload: string): string {
  if (payload === ERASED) return "";
  const rows = payloadRows(payload);
  return rows === null ? "" : counted(rows.filter((row) => row.depth === 0).length, "key");
}

type Answer = { data: Parameters<typeof becauseOf>[0] | undefined; error: unknown };

/** Because, and Led to. */
function Story({ event, up, down }: { event: LogEvent; up: Answer; down: Answer }) {
  const because = up.data && becauseOf(up.data, ROOM);
  const ledTo = down.data && ledToOf(down.data, { near: 1, failures: 1 });
  return (
    <>
      <section className="sec">
        <h3>
          Because <span className="n">{because && becauseWords(because)}</span>
          <span className="grow" />
          <Link className="n link" to="/trace/$eventId" params={{ eventId: event.id }}>
            Open trace <kbd>w</kbd>
          </Link>
        </h3>
        {because?.hops === 0 && because.hasRoot && <p className="t3 xs">Nothing came before it: it is the root.</p>}
        {because && (because.hops > 0 || because.missingCause) && (
          <Spine rows={because.rows} side="causes" eventId={event.id} outcome={event.outcome} label="Causes" />
        )}
        {Boolean(up.error) && <p className="t3 xs">The causes could not be read.</p>}
        {!up.data && !up.error && <Loading rows={3} />}
      </section>
      <section className="sec led-to">
        <h3>
          Led to <span className="n">{ledTo && ledToWords(ledTo)}</span>
        </h3>
        {ledTo?.count === 0 && <p className="t3 xs">It has led to nothing so far.</p>}
        {ledTo && ledTo.count > 0 && <Spine rows={ledTo.rows} side="effects" eventId={event.id} outcome={event.outcome} label="Effects" />}
        {Boolean(down.error) && <p className="t3 xs">The effects could not be read.</p>}
      </section>
    </>
  );
}

/** The left edge: drag it, or move it with the arrows. */
function Grip({ width, onWidth }: { width: number; onWidth: (width: number) => void }) {
  const isDragged = useRef(false);
  const fit = (wanted: number) => onWidth(Math.round(Math.min(WIDEST, Math.max(NARROWEST, wanted))));
  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) => {
    const step = { ArrowLeft: 16, ArrowRight: -16 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    fit(width + step);
  };
  const onPointerMove = (event: PointerEvent<HTMLDivElement>) => {
    if (isDragged.current) fit((event.currentTarget.parentElement?.getBoundingClientRect().right ?? innerWidth) - event.clientX);
  };
  return (
    <div
      className="grip"
      role="separator"
      aria-orientation="vertical"
      aria-label="Width of the event beside the list"
      aria-valuemin={NARROWEST}
      aria-valuemax={WIDEST}
      aria-valuenow={width}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onPointerDown={(event) => {
        isDragged.current = true;
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={onPointerMove}
      onPointerUp={() => (isDragged.current = false)}
    />
  );
}
