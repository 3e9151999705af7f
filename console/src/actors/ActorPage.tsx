import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { getJson, type Schemas } from "../api/client";
import type { EventPage } from "../api/events";
import { Screen } from "../frame/Screen";
import { SentenceDetail } from "../sentences/SentenceLine";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { CountBar, OutcomeBars } from "../common/charts";
import { Icon } from "../common/icons";
import { withQuery } from "../common/links";
import { Actor, ActorGlyph, OutcomeMark } from "../common/marks";
import { PeriodMenu, periodQuery, usePeriod, type Period } from "../common/Period";
import { Empty, ErrorState, Loading } from "../common/states";
import { exploring, term } from "../common/terms";
import { counted, grouped } from "../common/times";
import { useZoneName, When } from "../common/When";
import { LAST_WEEK } from "./ActorsPage";
import type { ActorAnswer, Counted, FirstTime, Triggers } from "./answers";
import { firstValuesOptions } from "./firstValues";
import { failureRate, percentText, rateChange, reasonsOf } from "./change";
import { PAYLOAD, payloadFacetsOptions, payloadPathsOptions } from "../explore/answers";
import "./actors.css";
import { visible } from "../common/visible";

const WEEK_MS = 7 * 86_400_000;

export function ActorPage() {
  const { actorType, actorId } = useParams({ strict: false }) as { actorType: string; actorId: string };
  const period = usePeriod();
  const path = `api/v1/actors/${encodeURIComponent(actorType)}/${encodeURIComponent(actorId)}/summary`;
  const summary = useQuery({
    queryKey: ["actor", actorType, actorId, period],
    queryFn: ({ signal }) => getJson<ActorAnswer>(withQuery(path, periodQuery(period)), signal),
  });
  return (
    <Screen title={actorId} within={{ to: "/actors", name: "Actors" }} tools={<PeriodMenu none={LAST_WEEK} />}>
      {summary.isPending ? (
        <Loading rows={10} />
      ) : summary.isError ? (
        <ErrorState error={summary.error} />
      ) : summary.data.lastSeenAt === null ? (
        <Empty title="This actor has done nothing that is kept here">
          <p className="t2">
            <Link className="link" to="/actors" search={{}}>
              All actors
            </Link>
          </p>
        </Empty>
      ) : (
        <ActorDetail actor={summary.data} />
      )}
    </Screen>
  );
}

function ActorDetail({ actor }: { actor: ActorAnswer }) {
  const chosen = usePeriod();
  const period = { from: chosen.from ?? actor.from ?? undefined, to: chosen.to ?? actor.to ?? undefined };
  const self = term("actor", `${actor.actorType}/${actor.actorId}`);
  const zone = useZoneName();
  return (
    <div className="body sc">
      <div className="actor-head">
        <span className="big-glyph">
          <ActorGlyph type={actor.actorType} />
        </span>
        <div className="grow">
          <h2 className="page-title">{visible(actor.actorId)}</h2>
          <p className="xs t3">
            {actor.actorType}
            {actor.firstSeenAt && (
              <>
                {" "}
                · first seen <When at={actor.firstSeenAt} />
              </>
            )}
            {actor.lastSeenAt && (
              <>
                {" "}
                · last seen <When at={actor.lastSeenAt} />
              </>
            )}{" "}
            {zone}
          </p>
        </div>
        <Link className="btn o" to="/explore" search={exploring([self], period)}>
          <Icon name="explore" />
          Its events
        </Link>
        <Link className="btn o" to="/explore" search={exploring([self, "outcome:failed"], period)}>
          <OutcomeMark outcome="failure" />
          Its failures <span className="t3">{grouped(actor.failures)}</span>
        </Link>
      </div>
      <Figures actor={actor} period={period} />
      {actor.total === 0 ? <Quiet actor={actor} /> : <Details actor={actor} self={self} period={period} />}
    </div>
  );
}

/** It did nothing in the period: the way to when it last did something. */
function Quiet({ actor }: { actor: ActorAnswer }) {
  const lastMs = Date.parse(actor.lastSeenAt ?? "");
  const search = { from: new Date(lastMs - WEEK_MS).toISOString(), to: new Date(lastMs + 1_000).toISOString() };
  return (
    <p className="t2">
      It did nothing in this period.{" "}
      <Link className="link" to="/actors/$actorType/$actorId" params={{ actorType: actor.actorType, actorId: actor.actorId }} search={search}>
        Show its last week
      </Link>
    </p>
  );
}

function Details({ actor, self, period }: { actor: ActorAnswer; self: string; period: Period }) {
  return (
    <div className="cols">
      <div>
        <Tools self={self} period={period} />
        <Types title="What it does" column="Event type" rows={actor.byEventType} self={self} name="type" period={period} />
        <Types title="To what" column="Resource type" rows={actor.byResourceType} self={self} name="resource" period={period} />
      </div>
      <div>
        <FirstTimes firstTimes={actor.firstTimes} self={self} period={period} />
        {actor.triggeredBy && <TriggeredBy triggers={actor.triggeredBy} total={actor.total} />}
        <Reasons actor={actor} period={period} />
      </div>
    </div>
  );
}

function Figures({ actor, period }: { actor: ActorAnswer; period: Period }) {
  const change = rateChange(actor, actor.previous);
  // Before its first event there is nothing to draw.
  const isNew = actor.firstSeenAt !== null && Date.parse(actor.firstSeenAt) > Date.parse(period.from ?? "");
  const active = isNew ? { ...period, from: actor.firstSeenAt ?? undefined } : period;
  const histogram = useQuery({
    queryKey: ["actor-bars", actor.actorType, actor.actorId, active],
    queryFn: ({ signal }) =>
      getJson<Schemas["Histogram"]>(
        withQuery("api/v1/events/histogram", { actor_type: actor.actorType, actor_id: actor.actorId, by: "outcome", ...periodQuery(active) }),
        signal,
      ),
  }).data;
  const triggers = actor.triggeredBy;
  const cause = triggers?.actors[0];
  return (
    <div className="figs">
      <Figure value={grouped(actor.total)} name="events" />
      <Figure value={grouped(actor.successes)} name="succeeded" />
      <Figure value={grouped(actor.failures)} name="failed" isBad={actor.failures > 0} />
      <div>
        <div className="fig">{percentText(failureRate(actor))}</div>
        <div className="xs t2">failure rate{change && <>, {change.text === "as before" ? change.text : `${change.text} against before`}</>}</div>
      </div>
      {triggers && cause && (
        <div>
          <div className="fig">{percentText(cause.count / triggers.events)}</div>
          <div className="xs t2">
            caused by <Actor type={cause.actorType} id={cause.actorId} />
            {triggers.events < actor.total && <>, of the latest {grouped(triggers.events)}</>}
          </div>
        </div>
      )}
      {histogram && histogram.buckets.length > 0 && (
        <div className="pic">
          <OutcomeBars histogram={histogram} />
        </div>
      )}
    </div>
  );
}

function Figure({ value, name, isBad = false }: { value: string; name: string; isBad?: boolean }) {
  return (
    <div>
      <div className={isBad ? "fig fail" : "fig"}>{value}</div>
      <div className="xs t2">{name}</div>
    </div>
  );
}

/** What it does by the values at the indexed paths of payloads, such as the tools that it calls. */
function Tools({ self, period }: { self: string; period: Period }) {
  const paths = useQuery(payloadPathsOptions).data ?? [];
  const { data } = useQuery({ ...payloadFacetsOptions({ q: self, from: period.from, to: period.to }, paths), enabled: paths.length > 0 });
  return (data ?? []).map(({ path, values, more }) => {
    const rows = values.map(({ value = "", count, failures }) => ({ value, count, failures }));
    return <Types key={path} title="With what" column={PAYLOAD + path} rows={rows} more={more} self={self} name={PAYLOAD + path} period={period} />;
  });
}

function Types({ title, column, rows, more = 0, self, name, period }: {
  title: string;
  column: string;
  rows: readonly Counted[];
  /** How many further rows there are. */
  more?: number;
  self: string;
  name: string;
  period: Period;
}) {
  const most = Math.max(0, ...rows.map(({ count }) => count));
  if (rows.length === 0) return null;
  return (
    <section className="block">
      <h3 className="lab h">{title}</h3>
      <table className="dense">
        <thead>
          <tr>
            <th>{column}</th>
            <th className="only-wide" aria-hidden="true" />
            <th className="r">Events</th>
            <th className="r">Failed</th>
            <th className="r">Rate</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ value, count, failures }) => (
            <tr key={value}>
              <td className="mono xs">
                <Link className="link plain cut" to="/explore" search={exploring([self, term(name, value)], period)} title={value}>
                  <bdi>{value}</bdi>
                </Link>
              </td>
              <td className="only-wide barcell">
                <CountBar count={count} failures={failures} most={most} />
              </td>
              <td className="r">{grouped(count)}</td>
              <td className="r">
                <span className={failures > 0 ? "fw" : "t3"}>{grouped(failures)}</span>
              </td>
              <td className="r t2">{failures === 0 ? "–" : percentText(failures / count)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {more > 0 && <p className="t3 xs">and {counted(more, "further value")}</p>}
    </section>
  );
}

/** Whose events its own were caused by. */
function TriggeredBy({ triggers, total }: { triggers: Triggers; total: number }) {
  const { actors, events, missing, moreActors, roots } = triggers;
  if (events === 0) return null;
  return (
    <section className="block">
      <h3 className="lab h">
        What triggers it <span className="n">{events < total ? `of its latest ${grouped(events)} events` : "of its events in this period"}</span>
      </h3>
      {actors.map(({ actorType, actorId, count }) => (
        <div key={`${actorType} ${actorId}`} className="line">
          <Link className="link plain cut grow" to="/actors/$actorType/$actorId" params={{ actorType, actorId }} search={{}}>
            <Actor type={actorType} id={actorId} />
          </Link>
          <span className="t2">{grouped(count)}</span>
          <span className="xs t3 share">{percentText(count / events)}</span>
        </div>
      ))}
      {moreActors > 0 && <p className="t3 xs">and {counted(moreActors, "further actor")}</p>}
      <Unnamed count={roots} events={events} words="nothing: these are roots" />
      <Unnamed count={missing} events={events} words="a cause that is not in the log" />
    </section>
  );
}

function Unnamed({ count, events, words }: { count: number; events: number; words: string }) {
  if (count === 0) return null;
  return (
    <div className="line">
      <span className="t2 grow">{words}</span>
      <span className="t2">{grouped(count)}</span>
      <span className="xs t3 share">{percentText(count / events)}</span>
    </div>
  );
}

/** What it did for the first time in the period: event types, and values at the indexed paths of payloads. */
function FirstTimes({ firstTimes, self, period }: { firstTimes: readonly FirstTime[]; self: string; period: Period }) {
  const words = useWords();
  const paths = useQuery(payloadPathsOptions).data ?? [];
  const { data: values } = useQuery({ ...firstValuesOptions(self, period, paths), enabled: paths.length > 0 });
  const all = [
    ...firstTimes.map(({ eventType, at, eventId }) => ({ key: eventType, at, eventId, name: eventType, sentence: null, title: eventType })),
    ...(values?.found ?? []).map(({ path, value, event }) => {
      const sentence = sentenceOfEvent(event, words);
      return { key: `${path}=${value}`, at: event.occurredAt, eventId: event.id, name: value, sentence, title: `${PAYLOAD}${path}, ${event.eventType}` };
    }),
  ].sort((one, other) => Date.parse(other.at) - Date.parse(one.at));
  return (
    <section className="block">
      <h3 className="lab h">
        For the first time <span className="n">in this period, latest first</span>
      </h3>
      {all.length === 0 && <p className="t3">Nothing that it had not done before.</p>}
      {all.map(({ key, at, eventId, name, sentence, title }) => (
        <div key={key} className="line">
          <Link className="cut grow link plain" to="/e/$eventId" params={{ eventId }} search={{}} title={title}>
            {sentence?.isVerb && <span className={sentence.isFailure ? "fw" : "t2"}>{sentence.verb} </span>}
            <bdi className="mono xs">{name}</bdi>
          </Link>
          <span className="xs t3">
            <When at={at} />
          </span>
        </div>
      ))}
      {values !== undefined && values.unknown > 0 && <p className="t3 xs">{counted(values.unknown, "further value")} in the payloads may be new too.</p>}
    </section>
  );
}

/** Failures that the reasons are grouped from. */
const LATEST = 100;

function Reasons({ actor, period }: { actor: ActorAnswer; period: Period }) {
  const words = useWords();
  const { data } = useQuery({
    queryKey: ["actor-failures", actor.actorType, actor.actorId, period],
    queryFn: ({ signal }) =>
      getJson<EventPage>(
        withQuery("api/v1/events", {
          actor_type: actor.actorType,
          actor_id: actor.actorId,
          outcome: "failure",
          limit: LATEST,
          include: "position,recordedAt,outcome",
          ...periodQuery(period),
        }),
        signal,
      ),
    enabled: actor.failures > 0,
  });
  if (!data || data.events.length === 0) return null;
  const said = data.events.map((event) => sentenceOfEvent(event, words));
  const reasons = reasonsOf(said.map(({ detail }) => detail).filter(Boolean));
  if (reasons.length === 0) return null;
  const latest = data.events[0];
  return (
    <section className="block">
      <h3 className="lab h">
        Why it fails{" "}
        <span className="n">{data.total > LATEST ? `of its latest ${LATEST} failures; ` : ""}numbers and names left out to group</span>
      </h3>
      {reasons.slice(0, 8).map(({ reason, count }) => (
        <div key={reason} className="line">
          <span className="cut grow" title={reason}>
            {reason}
          </span>
          <span className="t2">{grouped(count)}</span>
        </div>
      ))}
      {reasons.length > 8 && <p className="t3 xs">and {reasons.length - 8} more reasons</p>}
      {latest && said[0] && (
        <p className="line">
          <span className="t2">The latest:</span>
          <Link className="link cut grow" to="/e/$eventId" params={{ eventId: latest.id }} search={{}}>
            <SentenceDetail sentence={said[0]} />
          </Link>
        </p>
      )}
    </section>
  );
}
