import { queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ApiError, getJson, ROOT, send, type Schemas } from "../api/client";
import type { LogEvent } from "../api/events";
import { Icon } from "../common/icons";
import { When } from "../common/When";
import { counted } from "../common/times";
import type { PinnedKey, Verdict } from "./proofs";

/** How soon an event that no checkpoint has yet is asked about again. */
const SEALED_SOON_MS = 2_000;

/** The newest checkpoint of the log, null before the first, undefined while it is read or for a narrowed key. */
export function useCheckpoint(isWanted = true): Schemas["Checkpoint"] | null | undefined {
  return useQuery({
    queryKey: ["checkpoint"],
    queryFn: async ({ signal }) => (await getJson<Schemas["Checkpoints"]>("api/v1/log/checkpoints?limit=1", signal)).checkpoints[0] ?? null,
    enabled: isWanted,
    retry: false,
    staleTime: 2_000,
  }).data;
}

/** What is known about the proof of an event: a verdict, or why there is none. */
type Known = Verdict | { kind: "not sealed" } | { kind: "not shown" };

/** The verifier is loaded when it is first needed. */
function proofOptions(event: LogEvent) {
  return queryOptions({
    queryKey: ["proof", event.id],
    queryFn: async ({ signal }): Promise<Known> => {
      try {
        const { keys } = await getJson<Schemas["LogKeys"]>("api/v1/log/key", signal);
        const offered = keys.at(-1)?.key;
        if (offered === undefined) return { kind: "not sealed" };
        const answer = await send(`api/v1/events/${event.id}/proof`, { signal });
        const proof = new Uint8Array(await answer.arrayBuffer());
        const { judge, pinKey, pinnedKey } = await import("./proofs");
        const pinned = pinnedKey(localStorage, logOf(event));
        const verdict = judge(proof, event, pinned ?? { key: offered, seenAt: new Date().toISOString() }, offered, keys.at(-1)?.mlDsaKey);
        if (pinned === null && verdict.kind === "verified") pinKey(localStorage, logOf(event), offered, new Date());
        return verdict;
      } catch (error) {
        if (error instanceof ApiError && error.code === "not_sealed_yet") return { kind: "not sealed" };
        if (error instanceof ApiError && error.status === 403) return { kind: "not shown" };
        throw error;
      }
    },
    retry: false,
    staleTime: Infinity,
    refetchInterval: ({ state }) => (state.data?.kind === "not sealed" ? SEALED_SOON_MS : false),
  });
}

/** The name under which the key of the event's log is pinned: one host may serve several logs. */
const logOf = (event: LogEvent) => `${ROOT} ${event.tenantId}`;

/** Whether the proof of an event verifies in this browser, in some words, with the proof as a file. */
export function ProofBadge({ event }: { event: LogEvent }) {
  const { data: known, error } = useQuery(proofOptions(event));
  if (error) return <span>Its proof cannot be read now.</span>;
  switch (known?.kind) {
    case undefined:
      return <span className="t3">Verifying its proof…</span>;
    case "not shown":
      return <span>Its hash is stored</span>;
    case "not sealed":
      return <span>Not sealed yet: the next checkpoint will include it</span>;
    case "verified":
      return (
        <Badge kind="ok" words="Verified" title={`In this browser, as the log was with ${counted(Number(known.size), "event")}`}>
          <SavedProof event={event} />
        </Badge>
      );
    case "refused":
      return (
        <Badge kind="fail" words="Does not verify" title={known.why}>
          <SavedProof event={event} />
        </Badge>
      );
    case "changed":
      return <Badge kind="warn" words="The log's key changed" title="Nothing was verified" />;
  }
}

function Badge({ kind, words, title, children }: { kind: "ok" | "fail" | "warn"; words: string; title: string; children?: ReactNode }) {
  return (
    <>
      <span className={`tag ${kind}`} title={title}>
        <Icon name={kind === "ok" ? "check" : kind === "fail" ? "close" : "warning"} small />
        {words}
      </span>
      {children}
    </>
  );
}

function SavedProof({ event }: { event: LogEvent }) {
  return (
    <a className="link" href={`${ROOT}api/v1/events/${event.id}/proof`} download={`${event.id}.tlog-proof`} title="whence verify --proof FILE --key KEY checks it offline">
      Save its proof
    </a>
  );
}

/** What was verified, against which key, and what that is worth. */
export function ProofDetails({ event }: { event: LogEvent }) {
  const { data: known } = useQuery(proofOptions(event));
  switch (known?.kind) {
    case "verified":
      return (
        <p className="t2 xs">
          This browser verified every field shown here, as the log was with {counted(Number(known.size), "event")}, by the key that it first saw{" "}
          <When at={known.pinned.seenAt} />. The page itself comes from the server: <Independent />
        </p>
      );
    case "refused":
      return <p className="t2 xs">{known.why} Save the proof, and show it to those who rely on this log.</p>;
    case "changed":
      return <ChangedKey event={event} pinned={known.pinned} offered={known.offered} />;
    default:
      return (
        <p className="t2 xs">
          The log keeps a hash of this event at its position, and signs the whole within about a second. <Independent />
        </p>
      );
  }
}

function Independent() {
  return (
    <>
      <a className="link" href={`${ROOT}whence-verify.html`}>
        the verifier
      </a>{" "}
      checks a saved proof without it.
    </>
  );
}

/** A key that is not the one that this browser knows: expected after a change of the store secret, and otherwise a reason to ask. */
function ChangedKey({ event, pinned, offered }: { event: LogEvent; pinned: PinnedKey; offered: string }) {
  const client = useQueryClient();
  const trust = async () => {
    const { pinKey } = await import("./proofs");
    pinKey(localStorage, logOf(event), offered, new Date());
    await client.invalidateQueries({ queryKey: ["proof"] });
  };
  return (
    <>
      <p className="t2 xs">
        The server names another key than the one that this browser first saw <When at={pinned.seenAt} />. That is so when the log began a new epoch. Ask its
        operator before you trust it.
      </p>
      <dl className="kv">
        <dt>Seen first</dt>
        <dd className="mono cut" title={pinned.key}>
          {pinned.key}
        </dd>
        <dt>Now</dt>
        <dd className="mono cut" title={offered}>
          {offered}
        </dd>
      </dl>
      <button className="btn o" onClick={() => void trust()}>
        <Icon name="key" />
        Trust the new key
      </button>
    </>
  );
}
