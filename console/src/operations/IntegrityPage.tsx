import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { ApiError, getJson, ROOT, type Schemas } from "../api/client";
import { useCheckpoint } from "../event/Proof";
import type { EventPage } from "../api/events";
import { intervalName } from "../explore/periods";
import { Screen } from "../frame/Screen";
import type { Search } from "../common/search";
import { OutcomeBars } from "../common/charts";
import { Copy } from "../common/Copy";
import { useRemoved } from "../common/removed";
import { Icon } from "../common/icons";
import { ErrorState, Loading } from "../common/states";
import { counted, grouped } from "../common/times";
import { When } from "../common/When";
import { Exports, Reads } from "./Recorded";
import { Retention } from "./Retention";
import { LogVerdict } from "./Verdict";
import { eventsPerSecond, followerPlace, kept, rateText, type Reading } from "./rate";
import "./operations.css";

/** How often the size of the log is read while the page is shown. */
const EVERY_MS = 2_000;

const COMMAND = "whence verify --json";

/** The newest event, and how many are kept. */
function useNewest() {
  return useQuery({
    queryKey: ["newest"],
    queryFn: ({ signal }) => getJson<EventPage>("api/v1/events?limit=1&include=position,recordedAt,outcome", signal),
    refetchInterval: EVERY_MS,
  });
}

function useFollowers() {
  return useQuery({
    queryKey: ["followers"],
    queryFn: ({ signal }) => getJson<Schemas["Followers"]>("api/v1/followers", signal),
    refetchInterval: (query) => (query.state.status === "error" ? false : EVERY_MS),
    retry: false,
  });
}

/** How fast events came in while the page was open. */
function useRate(size: number | undefined, atMs: number): number | null {
  const [readings, setReadings] = useState<Reading[]>([]);
  useEffect(() => {
    if (size !== undefined && atMs > 0) setReadings((before) => kept(before, { atMs, size }));
  }, [size, atMs]);
  return eventsPerSecond(readings);
}

const TABS = {
  log: { name: "Log", title: "Integrity", body: Log },
  retention: { name: "Retention and erasure", title: "Retention", body: Retention },
  exports: { name: "Exports", title: "Exports", body: Exports },
  reads: { name: "Who looked", title: "Who looked", body: Reads },
} as const;
type Tab = keyof typeof TABS;

/** The log and what follows it, what is removed from it on purpose, and who took or read what. */
export function IntegrityPage() {
  const search = useSearch({ strict: false }) as Search;
  const tab: Tab = search.tab !== undefined && Object.hasOwn(TABS, search.tab) ? (search.tab as Tab) : "log";
  const { title, body: Body } = TABS[tab];
  return (
    <Screen title={title} {...(tab !== "log" && { within: { to: "/integrity", name: "Integrity" } })}>
      <div className="tb pad set-tabs">
        <nav className="seg" aria-label="Integrity">
          {(Object.keys(TABS) as Tab[]).map((each) => (
            <Link
              key={each}
              to="/integrity"
              search={each === "log" ? {} : { tab: each }}
              activeOptions={{ exact: true }}
              aria-current={each === tab ? "page" : undefined}
            >
              {TABS[each].name}
            </Link>
          ))}
        </nav>
      </div>
      <div className="body sc">
        <Body />
      </div>
    </Screen>
  );
}

function Log() {
  const newest = useNewest();
  const followers = useFollowers();
  const rate = useRate(newest.data?.total, newest.dataUpdatedAt);
  if (newest.isPending) return <Loading rows={8} />;
  if (newest.isError && !newest.data) return <ErrorState error={newest.error} />;
  return (
    <>
      <LogVerdict kept={newest.data.total} size={followers.data?.size} />
      <div className="cols even">
        <TheLog page={newest.data} size={followers.data?.size} />
        <Ingest page={newest.data} rate={rate} />
      </div>
      <Followers followers={followers.data} error={followers.error} />
    </>
  );
}

function TheLog({ page, size }: { page: EventPage; size: number | undefined }) {
  const checkpoint = useCheckpoint();
  const removed = useRemoved(size);
  return (
    <section className="block">
      <h3 className="lab h">The log</h3>
      <dl className="kv roomy">
        <dt>Kept now</dt>
        <dd>{counted(page.total, "event")}</dd>
        {removed !== undefined && removed > 0 && (
          <>
            <dt>No longer kept</dt>
            <dd>{grouped(removed)}, by retention; their hashes stay</dd>
          </>
        )}
        <dt>Hashes</dt>
        <dd>SHA-256 of each event, in a tree by RFC 6962</dd>
        <dt>Checkpoint</dt>
        <dd>
          {checkpoint ? (
            <>
              {counted(checkpoint.size, "event")}, signed <When at={checkpoint.signedAt} />{" "}
              <a className="link" href={`${ROOT}api/v1/log/checkpoint`} download="checkpoint.txt" title={`Of the log ${checkpoint.origin}. Kept elsewhere, it shows any later change.`}>
                Save it
              </a>
            </>
          ) : (
            <span className="t3">{checkpoint === null ? "none yet: a log is signed within a second of its growth" : "not shown to this credential"}</span>
          )}
        </dd>
        <dt>Check it yourself</dt>
        <dd className="fx g1">
          <code className="mono">{COMMAND}</code>
          <Copy text={COMMAND} what="Copy the command" />
        </dd>
      </dl>
      <p className="t3 xs">It reads the store itself, beside the running server, and takes the whole log. Its exit code is 5 if something was changed.</p>
    </section>
  );
}

function Ingest({ page, rate }: { page: EventPage; rate: number | null }) {
  const newest = page.events[0];
  const bars = useQuery({
    queryKey: ["integrity-bars"],
    queryFn: ({ signal }) => getJson<Schemas["Histogram"]>("api/v1/events/histogram?by=outcome", signal),
    refetchInterval: 30_000,
  }).data;
  return (
    <section className="block">
      <h3 className="lab h">
        Events by time <span className="n">{bars?.interval ? `${intervalName(bars.interval)} a bar, by when they occurred` : ""}</span>
      </h3>
      {bars && bars.buckets.length > 0 && <OutcomeBars histogram={bars} width={620} height={64} />}
      <dl className="kv roomy">
        <dt>Comes in</dt>
        <dd aria-live="off">{rate === null ? <span className="t3">measuring…</span> : `${rateText(rate)} events/s`} <span className="t3 xs">over the last minute that you looked</span></dd>
        {newest && (
          <>
            <dt>Newest event</dt>
            <dd>
              occurred <When at={newest.occurredAt} />, recorded <When at={newest.recordedAt} />
            </dd>
          </>
        )}
      </dl>
    </section>
  );
}

function Followers({ followers, error }: { followers: Schemas["Followers"] | undefined; error: unknown }) {
  if (error instanceof ApiError && error.status === 403) return <p className="t3">{error.message}</p>;
  if (error) return <ErrorState error={error} />;
  if (!followers) return <Loading rows={2} />;
  return (
    <section className="block">
      <h3 className="lab h">
        What follows the log <span className="n">webhooks and alert rules, and how far behind they are</span>
      </h3>
      {followers.followers.length === 0 ? (
        <p className="t3">
          Nothing follows it. <Link className="link" to="/webhooks" search={{ new: "1" }}>Make a webhook</Link> or{" "}
          <Link className="link" to="/alerts" search={{ new: "1" }}>an alert rule</Link>.
        </p>
      ) : (
        <table>
          <thead>
            <tr>
              <th>Follower</th>
              <th className="r">Has read to</th>
              <th className="r">Behind</th>
            </tr>
          </thead>
          <tbody>
            {followers.followers.map(({ name, position, lag }) => (
              <tr key={name}>
                <td style={{ maxWidth: 0, width: "60%" }}>
                  <FollowerName name={name} />
                </td>
                <td className="r t2">{grouped(position)}</td>
                <td className="r">
                  {lag === 0 ? (
                    <span className="tag ok">
                      <Icon name="check" small />
                      at the head
                    </span>
                  ) : (
                    counted(lag, "event")
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

/** A follower by what it is called: the URL of a webhook, the name of a rule. */
function FollowerName({ name }: { name: string }) {
  const place = followerPlace(name);
  const webhooks = useQuery({ queryKey: ["webhooks"], queryFn: ({ signal }) => getJson<Schemas["Webhooks"]>("api/v1/webhooks", signal), retry: false }).data;
  const rules = useQuery({ queryKey: ["rules"], queryFn: ({ signal }) => getJson<Schemas["AlertRules"]>("api/v1/alert-rules", signal), retry: false }).data;
  if (!place) return <span className="mono xs">{name}</span>;
  const title =
    webhooks?.webhooks.find(({ id }) => id === place.params.webhookId)?.url ?? rules?.rules.find(({ id }) => id === place.params.ruleId)?.name ?? name;
  return (
    <Link {...(place as { to: string })} className="link plain fx g2 cut">
      <Icon name={place.kind === "webhook" ? "webhooks" : "alerts"} />
      <span className="cut">{title}</span>
      <span className="t3 xs">{place.kind}</span>
    </Link>
  );
}
