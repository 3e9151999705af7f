import { useMutation } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, data, type Schemas } from "../api/client";
import { Failed } from "../common/Failed";
import { counted } from "../common/times";
import { When } from "../common/When";
import { keyWords } from "./words";

type Alert = Schemas["Alert"];

/** Requests that a test makes at most; each reads about 20,000 positions. */
const PARTS_MAX = 25;
const SHOWN = 20;
const OVER = [
  ["24h", "the last day"],
  ["7d", "the last week"],
  ["30d", "the last 30 days"],
] as const;

interface Outcome {
  alerts: Alert[];
  isWhole: boolean;
  droppedKeys: number;
}

async function test(tested: object, over: string): Promise<Outcome> {
  const alerts: Alert[] = [];
  let continuation: string | null = null;
  let droppedKeys = 0;
  for (let part = 0; part < PARTS_MAX; part++) {
    const body: object = { ...tested, over, ...(continuation !== null && { continuation }) };
    const answer: Schemas["AlertTestResult"] = await data(api.POST("/api/v1/alert-rules/test", { body: body as never }));
    alerts.push(...answer.alerts);
    continuation = answer.continuation;
    droppedKeys += answer.droppedKeys;
    if (continuation === null) return { alerts, isWhole: true, droppedKeys };
  }
  return { alerts, isWhole: false, droppedKeys };
}

/** Judges a rule on what was recorded in the past, and stores nothing. */
export function PastTest({ tested }: { tested: { rule: object } | { ruleId: string } }) {
  const [over, setOver] = useState<string>("7d");
  const trying = useMutation({ mutationFn: () => test(tested, over) });
  return (
    <div className="stack" style={{ gap: 8 }}>
      <div className="fx g2" style={{ flexWrap: "wrap" }}>
        <button type="button" className="btn o" disabled={trying.isPending} onClick={() => trying.mutate()}>
          {trying.isPending ? "Trying…" : "Try it on"}
        </button>
        <select aria-label="Try it on" value={over} onChange={(event) => setOver(event.target.value)} style={{ width: "auto" }}>
          {OVER.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
        <span className="t3 xs">Nothing is stored.</span>
      </div>
      <Failed error={trying.error} />
      {trying.data && <Result outcome={trying.data} />}
    </div>
  );
}

function Result({ outcome }: { outcome: Outcome }) {
  const fired = outcome.alerts.filter(({ type }) => type === "fired");
  const resolved = outcome.alerts.length - fired.length;
  const latest = [...outcome.alerts].sort((a, b) => (a.at < b.at ? 1 : -1)).slice(0, SHOWN);
  return (
    <div role="status">
      <p className="b">
        {counted(fired.length, "alert")} would have fired, {resolved} resolved{!outcome.isWhole && ", as far as was read"}.
      </p>
      {outcome.droppedKeys > 0 && <p className="t3 xs">{counted(outcome.droppedKeys, "key")} had to be forgotten: there were too many at once.</p>}
      {latest.map((alert, index) => (
        <div key={index} className="line xs">
          <span className="t2">
            <When at={alert.at} />
          </span>
          <span className={alert.type === "fired" ? "fw" : "okw"}>{alert.type}</span>
          <span className="cut grow">{keyWords(alert.key)}</span>
          {alert.causationId && (
            <Link className="link" to="/e/$eventId" params={{ eventId: alert.causationId }} search={{}}>
              because
            </Link>
          )}
        </div>
      ))}
      {outcome.alerts.length > SHOWN && <p className="t3 xs">The latest {SHOWN} are shown.</p>}
    </div>
  );
}
