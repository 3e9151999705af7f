import { Link, useNavigate } from "@tanstack/react-router";
import { Screen } from "../frame/Screen";
import { Sparkline } from "../common/charts";
import { Actor } from "../common/marks";
import { usePages } from "../common/paging";
import { PeriodMenu, periodQuery, usePeriod } from "../common/Period";
import { usePreferences } from "../common/preferences";
import { useRowKeys } from "../common/rowkeys";
import { Empty, ErrorState, Loading } from "../common/states";
import { counted, grouped } from "../common/times";
import { useZoneName, When, whenText } from "../common/When";
import type { ActorRow, ActorsAnswer } from "./answers";
import { failureRate, percentText, rateChange } from "./change";
import "./actors.css";

/** The label of the period that is meant when none is chosen. */
export const LAST_WEEK = "Last week of the log";

export function ActorsPage() {
  return (
    <Screen title="Actors" tools={<PeriodMenu none={LAST_WEEK} />}>
      <Actors />
    </Screen>
  );
}

function Actors() {
  const period = usePeriod();
  const { zone } = usePreferences();
  const area = useRowKeys<HTMLDivElement>("Actors");
  const pages = usePages<ActorsAnswer>("api/v1/actors", { ...periodQuery(period), limit: 50 });
  if (pages.isPending) return <Loading rows={12} />;
  if (pages.isError) return <ErrorState error={pages.error} />;
  const first = pages.data.pages[0]?.body;
  const actors = pages.data.pages.flatMap(({ body }) => body.actors);
  if (!first || actors.length === 0) return <NoActors isChosen={Boolean(period.from || period.to)} />;
  return (
    <div className="body sc flush actors" ref={area}>
      <p className="lead-line t2">
        <span className="b">{counted(first.total, "actor")}</span>
        {first.from && first.to && (
          <>
            {" "}
            with an event from {whenText(first.from, zone)} to {whenText(first.to, zone)}. Changes are against as long a time before.
          </>
        )}
      </p>
      <table>
        <Head />
        <tbody>
          {actors.map((actor) => (
            <Row key={`${actor.actorType} ${actor.actorId}`} actor={actor} />
          ))}
        </tbody>
      </table>
      {pages.hasNextPage && (
        <p className="lead-line">
          <button className="btn o" disabled={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>
            Show more
          </button>
        </p>
      )}
    </div>
  );
}

function NoActors({ isChosen }: { isChosen: boolean }) {
  return (
    <Empty title={isChosen ? "Nobody did anything in this period" : "Nobody has done anything yet"}>
      {isChosen && (
        <p>
          <Link className="link" to="/actors" search={{}}>
            Show the last week of the log
          </Link>
        </p>
      )}
    </Empty>
  );
}

function Head() {
  const zone = useZoneName();
  return (
    <thead>
      <tr>
        <th>Actor</th>
        <th className="only-wide">Type</th>
        <th className="r">Events</th>
        <th className="spark">In the period</th>
        <th className="r">Failed</th>
        <th className="r">Rate</th>
        <th className="r only-wide">Change</th>
        <th className="only-wide new">New in the period</th>
        <th className="r only-wide">Last seen, {zone}</th>
      </tr>
    </thead>
  );
}

function Row({ actor }: { actor: ActorRow }) {
  const navigate = useNavigate();
  const period = usePeriod();
  const to = { to: "/actors/$actorType/$actorId", params: { actorType: actor.actorType, actorId: actor.actorId }, search: periodQuery(period) };
  const change = rateChange(actor, actor.previous);
  return (
    <tr className="go" onClick={() => void navigate(to as never)}>
      <td className="who">
        <Link {...(to as { to: string })} className="row-link cut" onClick={(event) => event.stopPropagation()}>
          <Actor type={actor.actorType} id={actor.actorId} />
        </Link>
      </td>
      <td className="t2 only-wide">{actor.actorType}</td>
      <td className="r">{grouped(actor.total)}</td>
      <td className="spark">
        <Sparkline counts={actor.sparkline} label={`${actor.total} events over the period`} />
      </td>
      <td className="r">
        <span className={actor.failures > 0 ? "fw" : "t3"}>{grouped(actor.failures)}</span>
      </td>
      <td className="r t2">{percentText(failureRate(actor))}</td>
      <td className="r only-wide">{change === null ? <span className="t3">–</span> : <span className={change.isWorse ? "fw" : "t2"}>{change.text}</span>}</td>
      <td className="only-wide new">
        {actor.firstTimes.slice(0, 1).map(({ eventType }) => (
          <span key={eventType} className="tag acc mono cut">
            {eventType}
          </span>
        ))}
        {actor.firstTimes.length > 1 && <span className="t3 xs"> and {actor.firstTimes.length - 1} more</span>}
      </td>
      <td className="r xs t2 only-wide">{actor.lastSeenAt ? <When at={actor.lastSeenAt} /> : "–"}</td>
    </tr>
  );
}
