import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { api, data, type Schemas } from "../api/client";
import { Confirm } from "../common/Confirm";
import { Icon } from "../common/icons";
import { Actor } from "../common/marks";
import { NeedsScope } from "../common/NeedsScope";
import { ErrorState, Loading } from "../common/states";
import { exploring, term } from "../common/terms";
import { counted } from "../common/times";
import { When } from "../common/When";
import { policyWords, previewWords, progressWords, removedWords, sourceWords, STATES } from "./removals";

type Removal = Schemas["Removal"];

/** How often a removal that is not done is read again. */
const SOON_MS = 2_000;

const soon = (removals: readonly Removal[] | undefined) => (removals?.some(({ state }) => state !== "done") ? SOON_MS : false);

/** What is removed on purpose, and what is kept from it: the policy and its runs, legal holds, erasures. */
export function Retention() {
  return (
    <NeedsScope scope="admin" to="see what is removed on purpose">
      <Policy />
      <div className="cols even">
        <Holds />
        <Erasures />
      </div>
    </NeedsScope>
  );
}

function Policy() {
  const client = useQueryClient();
  const policy = useQuery({
    queryKey: ["retention"],
    queryFn: ({ signal }) => data(api.GET("/api/v1/retention", { signal })),
    refetchInterval: ({ state }) => soon(state.data?.runs),
    retry: false,
  });
  const apply = async () => {
    await data(api.POST("/api/v1/retention/apply", {}));
    await client.invalidateQueries({ queryKey: ["retention"] });
  };
  if (!policy.data) return <Waiting query={policy} />;
  const { maxAgeDays, rules, runs, source } = policy.data;
  return (
    <>
      <section className="verdict">
        <Icon name="clock" />
        <div className="grow">
          <h2>{policyWords(maxAgeDays)}</h2>
          <p className="t2">
            {sourceWords(source)} {rules.length > 0 && `Payloads of ${counted(rules.length, "event type")} are erased earlier.`} What is removed is announced in the
            log first, its hash stays, and every proof of what is left stays valid.
          </p>
          {source !== "none" && <Preview apply={apply} />}
        </div>
      </section>
      {(runs.length > 0 || source !== "none") && (
        <div className="cols even">
          <section className="block">
            <h3 className="lab h">
              Runs <span className="n">the latest first</span>
            </h3>
            <Removals removals={runs} none="No run so far. One starts by itself when something is old enough." />
          </section>
          <Rules rules={rules} />
        </div>
      )}
    </>
  );
}

/** What a run would remove now, asked for by a click, since it is counted. */
function Preview({ apply }: { apply: () => Promise<void> }) {
  const preview = useQuery({
    queryKey: ["retention", "preview"],
    queryFn: ({ signal }) => data(api.GET("/api/v1/retention/preview", { signal })),
    enabled: false,
    retry: false,
  });
  const found = preview.data;
  return (
    <div className="stack preview">
      <div className="fx g2">
        <button type="button" className="btn o" disabled={preview.isFetching} onClick={() => void preview.refetch()}>
          What would go now?
        </button>
        {found && found.events + found.payloads > 0 && (
          <Confirm label="Apply now…" title="Apply the policy now?" action="Remove them" run={apply}>
            {previewWords(found)} That cannot be taken back.
          </Confirm>
        )}
      </div>
      <div role="status">
        {preview.isFetching ? <span className="t3">Counting…</span> : preview.error ? <ErrorState error={preview.error} /> : found && <Found preview={found} />}
      </div>
    </div>
  );
}

function Found({ preview }: { preview: Schemas["RetentionPreview"] }) {
  return (
    <>
      {previewWords(preview)}
      {preview.oldest && preview.newest && (
        <span className="t3">
          {" "}
          Recorded from <When at={preview.oldest} /> to <When at={preview.newest} />.
        </span>
      )}
    </>
  );
}

function Rules({ rules }: { rules: readonly Schemas["TypeRule"][] }) {
  return (
    <section className="block">
      <h3 className="lab h">
        Payloads that are erased earlier <span className="n">the events stay</span>
      </h3>
      {rules.length === 0 && <p className="t3">None: payloads stay as long as their events.</p>}
      {rules.map(({ eventType, maxAgeDays }) => (
        <div key={eventType} className="line">
          <Link className="link plain mono xs grow cut" to="/explore" search={exploring([term("type", eventType)])}>
            {eventType}
          </Link>
          <span className="t2">after {counted(maxAgeDays, "day")}</span>
        </div>
      ))}
    </section>
  );
}

function Holds() {
  const client = useQueryClient();
  const holds = useQuery({ queryKey: ["holds"], queryFn: ({ signal }) => data(api.GET("/api/v1/holds", { signal })), retry: false });
  const release = async (id: string) => {
    await data(api.DELETE("/api/v1/holds/{hold_id}", { params: { path: { hold_id: id } } }));
    await client.invalidateQueries({ queryKey: ["holds"] });
  };
  return (
    <Part title="Legal holds" note="keep what matches from every removal" query={holds}>
      {holds.data?.holds.length === 0 && <None command="whence hold add --flow order-8841 --reason 'Case 2026-4'">No event is held. A hold keeps those of a case:</None>}
      {holds.data?.holds.map(({ id, q, reason, by, createdAt }) => (
        <article key={id} className="entry">
          <div className="fx g2">
            <span className="b grow cut">
              <bdi>{reason}</bdi>
            </span>
            <Confirm label="Release…" title="Release this hold?" action="Release it" run={() => release(id)}>
              What only this hold has kept goes with the next run of retention.
            </Confirm>
          </div>
          <Link className="link mono xs cut" to="/explore" search={exploring([q])} title="The events that it keeps">
            {q}
          </Link>
          <p className="t3 xs">
            by <Actor type={by.actorType} id={by.actorId} />, <When at={createdAt} />
          </p>
        </article>
      ))}
    </Part>
  );
}

function Erasures() {
  const erasures = useQuery({
    queryKey: ["erasures"],
    queryFn: ({ signal }) => data(api.GET("/api/v1/erasures", { signal })),
    refetchInterval: ({ state }) => soon(state.data?.erasures),
    retry: false,
  });
  return (
    <Part title="Erasures" note="of payloads, for ever; the events and their proofs stay" query={erasures}>
      {erasures.data?.erasures.length === 0 ? (
        <None command="whence erase --actor user/u-17 --reason 'Request 2026-117'">No payload was erased. To erase those of one actor:</None>
      ) : (
        <Removals removals={erasures.data?.erasures ?? []} none="" />
      )}
    </Part>
  );
}

function Removals({ removals, none }: { removals: readonly Removal[]; none: string }) {
  if (removals.length === 0) return <p className="t3">{none}</p>;
  return removals.map((removal) => (
    <article key={removal.id} className="entry">
      <div className="fx g2">
        <span className="b grow cut">
          <bdi>{removal.reason}</bdi>
        </span>
        <Steps removal={removal} />
      </div>
      <p className="t2">
        {removedWords(removal)}
        {removal.state !== "done" && <>; {progressWords(removal)}</>}
      </p>
      <p className="t3 xs">
        by <Actor type={removal.by.actorType} id={removal.by.actorId} />, <When at={removal.createdAt} />
        {removal.finishedAt && (
          <>
            , done <When at={removal.finishedAt} />
          </>
        )}
        {removal.sealed === false && ", without a signed checkpoint before it"}
      </p>
    </article>
  ));
}

/** How far a removal is, as one mark for each of its states. */
function Steps({ removal: { state } }: { removal: Removal }) {
  const reached = STATES.indexOf(state);
  if (state === "done")
    return (
      <span className="tag ok">
        <Icon name="check" small />
        done
      </span>
    );
  return (
    <span className="steps" role="img" aria-label={`${state}, step ${reached + 1} of ${STATES.length}`}>
      {STATES.map((each, index) => (
        <i key={each} className={index <= reached ? "on" : ""} />
      ))}
      <span className="xs t2">{state}</span>
    </span>
  );
}

function Part({ title, note, query, children }: { title: string; note: string; query: UseQueryResult<unknown>; children: ReactNode }) {
  return (
    <section className="block">
      <h3 className="lab h">
        {title} <span className="n">{note}</span>
      </h3>
      {query.data === undefined ? <Waiting query={query} /> : children}
    </section>
  );
}

function Waiting({ query }: { query: UseQueryResult<unknown> }) {
  return query.error ? <ErrorState error={query.error} /> : <Loading rows={2} />;
}

function None({ command, children }: { command: string; children: ReactNode }) {
  return (
    <>
      <p className="t2">{children}</p>
      <pre className="code">{command}</pre>
    </>
  );
}
