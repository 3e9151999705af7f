import type { LogEvent } from "../api/events";
import { Icon } from "../common/icons";
import { Loading } from "../common/states";
import { grouped } from "../common/times";
import { becauseWords, ledToWords, Spine } from "./Spine";
import { becauseOf, ledToOf, type LedTo, type Trace } from "./story";

interface Answer {
  data: Trace | undefined;
  error: unknown;
}

/** Why it came and what it led to, side by side, above the payload. */
export function EventStory({ event, up, down }: { event: LogEvent; up: Answer; down: Answer }) {
  const because = up.data && becauseOf(up.data, { near: 3, failures: 1 });
  const ledTo = down.data && ledToOf(down.data, { near: 1, failures: 3 });
  return (
    <div className="event-story">
      <section aria-label="Because">
        <div className="lab">
          <Icon name="up" small />
          Because <span className="n">{because && becauseWords(because)}</span>
        </div>
        {because?.hops === 0 && because.hasRoot && <p className="t3 xs">Nothing came before it: it is the root.</p>}
        {because && (because.hops > 0 || because.missingCause !== null) && (
          <Spine rows={because.rows} side="causes" eventId={event.id} outcome={event.outcome} label="Causes" />
        )}
        {Boolean(up.error) && <p className="t3 xs">The causes could not be read.</p>}
        {!up.data && !up.error && <Loading rows={4} />}
      </section>
      <section aria-label="Led to">
        <div className="lab">
          <Icon name="effects" small />
          Led to <span className="n">{ledTo && ledToWords(ledTo)}</span>
        </div>
        {ledTo?.count === 0 && <p className="t3 xs">It has led to nothing so far.</p>}
        {ledTo && ledTo.count > 0 && (
          <>
            <Spine rows={ledTo.rows} side="effects" eventId={event.id} outcome={event.outcome} label="Effects" />
            <ByType ledTo={ledTo} />
          </>
        )}
        {Boolean(down.error) && <p className="t3 xs">The effects could not be read.</p>}
        {!down.data && !down.error && <Loading rows={4} />}
      </section>
    </div>
  );
}

const BAR_PX = 56;

/** The effects by type, with how many of them failed. */
function ByType({ ledTo }: { ledTo: LedTo }) {
  const largest = ledTo.byType[0]?.count ?? 1;
  return (
    <>
      {ledTo.read < ledTo.count && <p className="t3 xs">Of the {grouped(ledTo.read)} nearest, by type:</p>}
      <ul className="by-type" aria-label="Effects by type">
        {ledTo.byType.slice(0, 8).map(({ eventType, count, failures }) => (
          <li key={eventType}>
            <span className="mono cut">{eventType}</span>
            <span
              className={`bar-line${failures > 0 ? " fail" : ""}`}
              style={{ width: Math.max(9, Math.round((BAR_PX * count) / largest)) }}
              aria-hidden="true"
            />
            {failures > 0 ? <span className="fw">{grouped(failures)} failed</span> : <span className="t2">{grouped(count)}</span>}
          </li>
        ))}
        {ledTo.byType.length > 8 && <li className="t3">and {grouped(ledTo.byType.length - 8)} more types</li>}
      </ul>
    </>
  );
}
