import { useQueries, useQueryClient } from "@tanstack/react-query";
import { useLocation, useNavigate } from "@tanstack/react-router";
import { useEffect, useState, type ReactNode } from "react";
import { ApiError } from "../api/client";
import { copyText } from "../event/clipboard";
import { SESSION_KEY } from "../session/session";
import { Icon, type IconName } from "../common/icons";
import { grouped } from "../common/times";
import type { Change, Filters } from "./address";
import { countOptions } from "./answers";
import { scanTerms, withoutTermAt } from "./terms";

/** A word to the reader in the place of rows, or above them. */
export function Notice(props: { icon: IconName; title: string; children?: ReactNode; actions?: ReactNode; isAlert?: boolean; isDoubt?: boolean }) {
  const { icon, title, children, actions, isAlert = false, isDoubt = false } = props;
  return (
    <div className="card notice" role={isAlert ? "alert" : "status"}>
      <span className={isDoubt ? "warn-text" : "t3"}>
        <Icon name={icon} />
      </span>
      <div className="grow">
        <div className="b">{title}</div>
        <div className="t2">{children}</div>
      </div>
      {actions && <div className="fx g2 notice-actions">{actions}</div>}
    </div>
  );
}

const TRIED = 6;

/** No event matches: says which filter to drop, with how many events there would be. */
export function NothingMatches({ filters, change }: { filters: Filters; change: Change }) {
  const terms = scanTerms(filters.q);
  const tries = [
    ...terms.map((term, index) => ({
      name: filters.q.slice(term.start, term.end),
      without: { ...filters, q: withoutTermAt(filters.q, index) },
    })),
    ...(filters.from || filters.to ? [{ name: "the period", without: { ...filters, from: undefined, to: undefined } }] : []),
  ].slice(0, TRIED);
  const counts = useQueries({ queries: tries.map(({ without }) => countOptions(without)) });
  const found = tries.map((each, index) => ({ ...each, count: counts[index]?.data })).filter(({ count }) => count !== undefined && count > 0);
  const isDone = counts.every((count) => !count.isPending);
  return (
    <Notice
      icon="search"
      title={tries.length > 1 ? "No event matches all filters" : "No event matches"}
      actions={
        <button className="btn o" onClick={() => change({ q: "", from: undefined, to: undefined })}>
          Clear all
        </button>
      }
    >
      {found.map(({ name, without, count }) => (
        <span key={name}>
          Without{" "}
          <button className="chip as-button" onClick={() => change(without)}>
            {name}
          </button>{" "}
          there {count === 1 ? "is" : "are"} {grouped(count ?? 0)}.{" "}
        </span>
      ))}
      {isDone && found.length === 0 && tries.length > 1 && "No single filter is the reason: without any one of them there is nothing either."}
    </Notice>
  );
}

const SLOW_MS = 2_000;

/** After two seconds of waiting, what can be done about it. */
export function SlowNotice({ isWaiting, hasRows, onNarrow, onStop }: { isWaiting: boolean; hasRows: boolean; onNarrow: (() => void) | null; onStop: () => void }) {
  const [waitedMs, setWaited] = useState(0);
  useEffect(() => {
    setWaited(0);
    if (!isWaiting) return;
    const start = performance.now();
    const timer = setInterval(() => setWaited(performance.now() - start), 200);
    return () => clearInterval(timer);
  }, [isWaiting]);
  if (!isWaiting || waitedMs < SLOW_MS) return null;
  return (
    <Notice
      icon="clock"
      title={`Still counting, ${(waitedMs / 1000).toFixed(1)} s`}
      actions={
        <>
          {onNarrow && (
            <button className="btn o" onClick={onNarrow}>
              Narrow to 24 h
            </button>
          )}
          <button className="btn" onClick={onStop}>
            Stop
          </button>
        </>
      }
    >
      {hasRows ? "The rows below are of the query before. Nothing is lost by stopping." : "Nothing is lost by stopping."}
    </Notice>
  );
}

/** What went wrong, why, the request's id, and one action. A wrong query is said at the query bar. */
export function ErrorNotice({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const location = useLocation();
  const known = error instanceof ApiError ? error : null;
  const signIn = (
    <button
      className="btn o"
      onClick={() => {
        client.setQueryData(SESSION_KEY, null);
        void navigate({ to: "/login", search: { back: location.href } });
      }}
    >
      Sign in
    </button>
  );
  if (known?.status === 401)
    return (
      <Notice icon="key" title="You are signed out" actions={signIn} isAlert>
        The session has ended. After signing in you are back here, with the same query.
      </Notice>
    );
  if (known?.status === 403)
    return (
      <Notice icon="key" title="This key may not read these events" actions={signIn} isAlert>
        {known.message} Ask the person who made the key, or sign in with another.
      </Notice>
    );
  if (known?.status === 429) return <Countdown error={known} onEnd={onRetry} />;
  const requestId = known?.requestId;
  return (
    <Notice
      icon="warning"
      title={known?.status === 0 ? "The server cannot be reached" : "The answer did not come"}
      isAlert
      isDoubt
      actions={
        <>
          {requestId && (
            <button className="btn o" onClick={() => void copyText(requestId)}>
              <Icon name="copy" />
              Copy
            </button>
          )}
          <button className="btn o" onClick={onRetry}>
            Try again
          </button>
        </>
      }
    >
      {known && known.status > 0 ? (
        <>
          The server said{" "}
          <span className="mono">
            {known.status} {known.code}
          </span>
          : {known.message}{" "}
        </>
      ) : (
        "The page asks again by itself as soon as the server answers. "
      )}
      {requestId && (
        <>
          Request <span className="mono">{requestId}</span>
        </>
      )}
    </Notice>
  );
}

/** Too many requests: counts down, and asks again at the end. */
function Countdown({ error, onEnd }: { error: ApiError; onEnd: () => void }) {
  const [left, setLeft] = useState(error.retryAfterS ?? 5);
  useEffect(() => {
    setLeft(error.retryAfterS ?? 5);
    const timer = setInterval(() => setLeft((seconds) => seconds - 1), 1_000);
    return () => clearInterval(timer);
  }, [error]);
  useEffect(() => {
    if (left === 0) onEnd();
  }, [left, onEnd]);
  const seconds = `${Math.max(0, left)} s`;
  return (
    <Notice icon="clock" title="Too many questions for this key" actions={<span className="t2">{seconds}</span>}>
      It goes on by itself in {seconds}. What you see stays.
    </Notice>
  );
}
