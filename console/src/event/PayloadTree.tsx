import { useMemo, useState } from "react";
import { Icon } from "../common/icons";
import { copyText } from "./clipboard";
import { foundRows, openRows, payloadRows, type PayloadRow } from "./payload";
import { SafeText } from "./SafeText";
import { When } from "../common/When";

const SHOWN = 400;

interface Props {
  text: string;
  erasedAt?: string | null | undefined;
  /** Only what has this text in it. */
  sought?: string;
  /** Filters for the value of a field of payloads, such as `tool`, or filters it out. */
  onFilter?: ((field: string, value: string, isExcluded: boolean) => void) | undefined;
}

/** A payload as it was sent: one row a value, branches that close, and what can be done with a value beside it. */
export function PayloadTree({ text, erasedAt, sought = "", onFilter }: Props) {
  const all = useMemo(() => payloadRows(text), [text]);
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [isWhole, setWhole] = useState(false);
  if (text === ERASED) return <Erased at={erasedAt} />;
  if (all === null) return <pre className="tree raw">{text}</pre>;
  if (all.length === 0) return <p className="t3 xs">The payload is empty.</p>;
  const rows = sought ? foundRows(all, sought) : openRows(all, closed);
  if (rows.length === 0) return <p className="t3 xs">Nothing in the payload has this text.</p>;
  const toggle = (path: string) => {
    const next = new Set(closed);
    if (!next.delete(path)) next.add(path);
    setClosed(next);
  };
  return (
    <div className="tree">
      {(isWhole ? rows : rows.slice(0, SHOWN)).map((row) => (
        <Leaf
          key={row.path}
          row={row}
          isClosed={closed.has(row.path)}
          onToggle={() => toggle(row.path)}
          onFilter={onFilter}
        />
      ))}
      {!isWhole && rows.length > SHOWN && (
        <button className="link" onClick={() => setWhole(true)}>
          Show all {rows.length.toLocaleString("en-US")} values
        </button>
      )}
    </div>
  );
}

/** The text of a payload that is not there any more. What is sent is always an object. */
export const ERASED = "null";

function Erased({ at }: { at: string | null | undefined }) {
  return (
    <p>
      <span className="tag warn">erased</span>{" "}
      <span className="t2">
        The payload was erased{at && <> <When at={at} /></>}. The event, its hash and its proof stay.
      </span>
    </p>
  );
}

/** A text of which nothing is seen, such as an empty one, has its quotation marks. */
const quotedIfBlank = (text: string): string => (text.trim() === "" ? JSON.stringify(text) : text);

interface LeafProps {
  row: PayloadRow;
  isClosed: boolean;
  onToggle: () => void;
  onFilter: Props["onFilter"] | undefined;
}

function Leaf({ row, isClosed, onToggle, onFilter }: LeafProps) {
  const { field } = row;
  return (
    <div className="leaf" style={{ "--d": row.depth } as React.CSSProperties}>
      {row.kind === "branch" ? (
        <button className="k branch" aria-expanded={!isClosed} onClick={onToggle}>
          <SafeText text={quotedIfBlank(row.key)} />
        </button>
      ) : (
        row.path !== "" && (
          <span className="k">
            <SafeText text={quotedIfBlank(row.key)} />
          </span>
        )
      )}
      <span className={row.kind === "branch" || row.kind === "empty" ? "c" : row.kind === "text" ? "s" : "num"}>
        <SafeText text={row.kind === "text" ? quotedIfBlank(row.text) : row.text} />
      </span>
      <span className="acts">
        {onFilter && field !== null && (
          <>
            <button onClick={() => onFilter(field, row.text, false)}>
              <Icon name="plus" small />
              Filter for
            </button>
            <button onClick={() => onFilter(field, row.text, true)}>
              <Icon name="minus" small />
              out
            </button>
          </>
        )}
        {row.kind !== "branch" && (
          <button aria-label={`Copy the value of ${row.path}`} title="Copy value" onClick={() => void copyText(row.text)}>
            <Icon name="copy" small />
          </button>
        )}
        <button aria-label={`Copy the path ${row.path}`} title="Copy path" onClick={() => void copyText(row.path)}>
          path
        </button>
      </span>
    </div>
  );
}
