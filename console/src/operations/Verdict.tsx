import { useRef, useState } from "react";
import { useSession } from "../session/session";
import { Icon } from "../common/icons";
import { counted, grouped } from "../common/times";
import { When } from "../common/When";
import type { Verdict } from "./verifying";

/** A log of more events than this is read only after a word about how much that is. */
const MANY = 50_000;

const SQUARES = 112;

type State = { kind: "not verified" } | { kind: "verifying"; position: number; of: number } | Verdict;

interface Props {
  /** Events that are kept. */
  kept: number;
  /** The positions of the log, where the credential may know them. */
  size: number | undefined;
}

/** What is known of the log, in words; and every event of it verified in this browser, when somebody asks for that. */
export function LogVerdict({ kept, size }: Props) {
  const tenantId = useSession()?.tenantId;
  const [state, setState] = useState<State>({ kind: "not verified" });
  const running = useRef<AbortController | null>(null);
  const verify = async () => {
    if (tenantId === undefined) return;
    const controller = new AbortController();
    running.current = controller;
    setState({ kind: "verifying", position: 0, of: size ?? kept });
    try {
      const { verifyLog } = await import("./verifying");
      setState(await verifyLog(tenantId, controller.signal, (position, of) => setState({ kind: "verifying", position, of })));
    } catch {
      setState({ kind: "not verified" });
    }
  };
  const isEmpty = size === 0 || (size === undefined && kept === 0);
  const isVerifying = state.kind === "verifying";
  return (
    <section className={`verdict ${state.kind === "holds" ? "ok" : state.kind === "broken" ? "fail" : ""}`}>
      <Shield kind={state.kind} />
      <div className="grow" aria-live="polite">
        <h2>{headline(state, isEmpty, size ?? kept)}</h2>
        <Explained state={state} size={size} isEmpty={isEmpty} />
        {!isEmpty && "position" in state && <Squares state={state} size={size ?? kept} />}
        {state.kind === "holds" && <Squares state={state} size={state.size} />}
      </div>
      {!isEmpty && size !== undefined && (
        <button type="button" className={isVerifying ? "btn o" : "btn p"} onClick={() => (isVerifying ? running.current?.abort() : void verify())}>
          <Icon name={isVerifying ? "close" : "check"} />
          {isVerifying ? "Stop" : size > MANY ? `Read and verify all ${grouped(size)}` : "Verify now"}
        </button>
      )}
    </section>
  );
}

function headline(state: State, isEmpty: boolean, size: number): string {
  if (isEmpty) return "The log is empty";
  switch (state.kind) {
    case "verifying":
      return "Verifying every event…";
    case "holds":
      return "Every event is as it was written";
    case "broken":
      return state.position === null ? "The log is not as it was signed" : `Position ${grouped(state.position)} is not as it was written`;
    case "other key":
      return "The log's key changed";
    case "undecided":
      return "The log was not verified to its end";
    default:
      return `${counted(size, "event")}, ${size === 1 ? "" : "each "}stored with its hash`;
  }
}

function Explained({ state, size, isEmpty }: { state: State; size: number | undefined; isEmpty: boolean }) {
  if (isEmpty) return null;
  switch (state.kind) {
    case "verifying":
      return (
        <p className="t2">
          {grouped(state.position)} of {counted(state.of, "event")}
        </p>
      );
    case "holds":
      return (
        <p className="t2">
          {counted(state.size, "event")} hashed in this browser in {(state.ms / 1_000).toFixed(1)} s. They lead to the signed root{" "}
          <span className="mono">
            {state.root.slice(0, 8)}…{state.root.slice(-6)}
          </span>
          . {state.byLeaf > 0 && `Of ${grouped(state.byLeaf)} that are no longer kept, only the stored hashes were read.`}
        </p>
      );
    case "broken":
      return (
        <p className="t2">
          {state.why} <span className="mono nw">whence verify</span> says more, and reads the store itself. Keep a backup of it as it is now.
        </p>
      );
    case "other key":
      return (
        <p className="t2">
          The server names another key than the one that this browser first saw <When at={state.seenAt} />. That is so when the log began a new epoch. Nothing was
          verified. The page of any event shows both keys, and there you can trust the new one.
        </p>
      );
    case "undecided":
      return (
        <p className="t2">
          {state.why} <span className="mono nw">whence verify</span> says why.
        </p>
      );
    default:
      return (
        <p className="t2">
          {size !== undefined && size > 1 && <>Positions 1 to {grouped(size)}, without gaps. </>}
          This page has not verified {size === 1 ? "it" : "them"}. <span className="mono nw">whence verify</span> recomputes every hash and every count from the store, and names the first
          position that is not as it was written.
        </p>
      );
  }
}

/** The positions as squares, as far as they are verified. */
function Squares({ state, size }: { state: State; size: number }) {
  const each = Math.max(1, Math.ceil(size / SQUARES));
  const count = Math.ceil(size / each);
  const reached = state.kind === "holds" ? size : state.kind === "verifying" || state.kind === "broken" ? (state.position ?? 0) : 0;
  const broken = state.kind === "broken" && state.position !== null ? Math.floor((state.position - 1) / each) : -1;
  return (
    <div className="squares" aria-hidden="true">
      <div>
        {Array.from({ length: count }, (_, index) => (
          <i key={index} className={index === broken ? "fail" : Math.min(size, (index + 1) * each) <= reached ? "ok" : ""} />
        ))}
      </div>
      <p className="t3 xs">
        <span>position 1</span>
        <span>{each === 1 ? "a square is an event" : `a square is ${grouped(each)} events`}</span>
        <span>{grouped(size)}</span>
      </p>
    </div>
  );
}

function Shield({ kind }: { kind: State["kind"] }) {
  const inside = kind === "holds" ? "m5.6 8 1.7 1.7 3.2-3.4" : kind === "broken" ? "m6.2 6.2 3.6 3.6M9.8 6.2 6.2 9.8" : "M8 5v3.2M8 10.3v.1";
  return (
    <svg width="40" height="40" viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1" aria-hidden="true">
      <path d="M8 1.8 13 3.6v4c0 3.2-2.1 5.4-5 6.6-2.9-1.2-5-3.4-5-6.6v-4z" />
      <path d={inside} strokeLinecap="round" strokeLinejoin="round" />
    </svg>
  );
}
