import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { payloadTextOf, type LogEvent } from "../api/events";
import { jsonText, parseJson } from "../api/json";
import { durationWords, grouped } from "../common/times";
import { PAYLOAD } from "../explore/answers";
import { micros } from "../explore/periods";
import { withTerm } from "../explore/terms";
import { copyText } from "./clipboard";
import { DiffTable } from "./DiffTable";
import { diffRows, payloadRows } from "./payload";
import { PayloadTree } from "./PayloadTree";
import { SafeText } from "./SafeText";

const VIEWS = { tree: "Payload", diff: "Diff with the event before", raw: "Raw" } as const;
type View = keyof typeof VIEWS;

/** The payload as a tree, as what changed since the event before on the resource, or as it was sent. */
export function PayloadPanel({ event, before }: { event: LogEvent; before: LogEvent | undefined }) {
  const [view, setView] = useState<View>("tree");
  const [sought, setSought] = useState("");
  const text = payloadTextOf(event);
  const navigate = useNavigate();
  const filter = (path: string, value: string, isExcluded: boolean) =>
    void navigate({ to: "/explore", search: { q: withTerm("", PAYLOAD + path, value, isExcluded) } });
  return (
    <section className="event-payload" aria-label="Payload">
      <div className="payload-bar">
        <div className="seg" role="group" aria-label="How the payload is shown">
          {(Object.keys(VIEWS) as View[]).map((each) => (
            <button key={each} aria-pressed={view === each} onClick={() => setView(each)}>
              {VIEWS[each]}
            </button>
          ))}
        </div>
        <span className="grow" />
        {view === "tree" && (
          <div className="find">
            <input type="search" aria-label="Find in payload" placeholder="Find in payload" value={sought} onChange={(change) => setSought(change.target.value)} />
          </div>
        )}
        {view === "raw" && (
          <button className="btn o" onClick={() => void copyText(text)}>
            Copy
          </button>
        )}
      </div>
      {view === "tree" && <PayloadTree text={text} erasedAt={event.erasedAt} sought={sought} onFilter={filter} />}
      {view === "tree" && before && (
        <>
          <div className="lab sec">
            Event before on this resource{" "}
            <span className="n">
              <span className="mono">{before.eventType}</span>, {earlierWords(event, before)}
            </span>
          </div>
          <PayloadTree text={payloadTextOf(before)} sought={sought} />
        </>
      )}
      {view === "raw" && (
        <pre className="tree raw">
          <SafeText text={indented(text)} />
        </pre>
      )}
      {view === "diff" && <Diff event={event} before={before} />}
    </section>
  );
}

function indented(text: string): string {
  try {
    return jsonText(parseJson(text));
  } catch {
    return text;
  }
}

/** "350 ms earlier, position 5,538" */
function earlierWords(event: LogEvent, before: LogEvent): string {
  return `${durationWords(micros(event.occurredAt) - micros(before.occurredAt))} earlier, position ${grouped(before.position)}`;
}

function Diff({ event, before }: { event: LogEvent; before: LogEvent | undefined }) {
  if (!before) return <p className="t3">This is the first event of its resource, so there is nothing to compare it with.</p>;
  const rows = diffRows(payloadRows(payloadTextOf(before)) ?? [], payloadRows(payloadTextOf(event)) ?? []);
  const changes = rows.filter((row) => row.change !== "same").length;
  return (
    <>
      <p className="t3 xs">
        The event before on this resource is <span className="mono">{before.eventType}</span>, {earlierWords(event, before)}.{" "}
        {changes === 0 ? "The payloads are the same." : ""}
      </p>
      <DiffTable rows={rows} before="Before" after="This event" />
    </>
  );
}
