import { Link } from "@tanstack/react-router";
import { SentenceLine } from "../sentences/SentenceLine";
import { OutcomeMark, type Outcome } from "../common/marks";
import { absenceOf } from "../common/ids";
import { counted, durationWords, grouped } from "../common/times";
import { sentenceOfNode, type StoryRow } from "./story";
import { ABSENT, useAbsence } from "./absence";

interface Props {
  rows: readonly StoryRow[];
  /** Effects hang on a dotted line, causes on a solid one. */
  side: "causes" | "effects";
  eventId: string;
  outcome: Outcome;
  label: string;
}

/** Causes or effects along the line of cause. */
export function Spine({ rows, side, eventId, outcome, label }: Props) {
  const absence = useAbsence(rows.some(({ kind }) => kind === "missing"));
  return (
    <ul className="spine" aria-label={label}>
      {rows.map((row, index) => {
        const ends = `${index === 0 && side === "causes" ? " first" : ""}${index === rows.length - 1 ? " last" : ""}`;
        const kind = side === "effects" ? " eff" : "";
        if (row.kind === "fold")
          return (
            <li key={`fold ${index}`} className={`sp fo${kind}${ends}`}>
              <span className="nd" />
              <Link to="/trace/$eventId" params={{ eventId }} className="fold cut">
                {foldWords(row, side)}
              </Link>
              <span />
            </li>
          );
        if (row.kind === "missing")
          return (
            <li key="missing" className={`sp${ends}`}>
              <span className="nd" />
              <span className="ghost cut">Its cause {row.id.slice(0, 8)} {absenceOf(row.id, ABSENT[absence])}</span>
              <span />
            </li>
          );
        if (row.kind === "this")
          return (
            <li key="this" className={`sp cur${ends}`}>
              <span className="nd">
                <OutcomeMark outcome={outcome} />
              </span>
              <span className="cut b">This event</span>
              <span />
            </li>
          );
        const { node, sinceUs } = row;
        return (
          <li key={node.id} className={`sp${kind}${ends}`}>
            <span className="nd">
              <OutcomeMark outcome={node.outcome} />
            </span>
            <Link to="/e/$eventId" params={{ eventId: node.id }} className="cut" title={node.eventType}>
              <SentenceLine sentence={sentenceOfNode(node)} actorType={node.actorType} />
            </Link>
            <span className={`xs nw ${node.skewed ? "warn-text" : "t3"}`} title={node.skewed ? "It occurred before its cause" : undefined}>
              {sinceUs < 0 ? "−" : "+"}
              {durationWords(Math.abs(sinceUs))}
            </span>
          </li>
        );
      })}
    </ul>
  );
}

function foldWords(row: Extract<StoryRow, { kind: "fold" }>, side: Props["side"]): string {
  const noun = row.count === 1 ? side.slice(0, -1) : side;
  const failed = row.failures === null ? ", not read here" : row.failures > 0 ? `, ${grouped(row.failures)} failed` : "";
  if (row.count === 0) return `More ${side}, not read here`;
  return `${row.atLeast ? "At least " : ""}${grouped(row.count)} more ${noun}${failed}`;
}

/** "47 hops, 2 min 42 s, one failed" */
export function becauseWords(because: { hops: number; durationUs: number | null; failures: number | null; atLeast: boolean }): string {
  if (because.hops === 0) return "";
  const parts = [`${because.atLeast ? "at least " : ""}${counted(because.hops, "hop")}`];
  if (because.durationUs !== null) parts.push(durationWords(because.durationUs));
  if (because.failures) parts.push(`${grouped(because.failures)} failed`);
  return parts.join(", ");
}

/** "16 events in 22.8 s, 2 failed" */
export function ledToWords(ledTo: { count: number; durationUs: number | null; failures: number; atLeast: boolean }): string {
  if (ledTo.count === 0) return "";
  const time = ledTo.durationUs === null ? "" : ` in ${durationWords(ledTo.durationUs)}`;
  return `${ledTo.atLeast ? "at least " : ""}${counted(ledTo.count, "event")}${time}${ledTo.failures > 0 ? `, ${grouped(ledTo.failures)} failed` : ""}`;
}
