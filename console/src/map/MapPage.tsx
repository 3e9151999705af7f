import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { getJson, type Schemas } from "../api/client";
import { FlowTabs } from "../flows/Tabs";
import { Bar } from "../frame/Bar";
import { BarTools, useTitle } from "../frame/Screen";
import { withQuery } from "../common/links";
import { PeriodMenu, periodQuery, usePeriod, type Period } from "../common/Period";
import { Empty, ErrorState, Loading } from "../common/states";
import { counted, durationWords, grouped } from "../common/times";
import { effects } from "./effects";
import { pairKey, type Pair } from "./model";
import "../common/screens.css";
import "./map.css";

type ProcessMap = Schemas["ProcessMap"];
type Aggregate = Schemas["EventAggregate"];

const Picture = lazy(() => import("./Picture").then((module) => ({ default: module.Picture })));

function useMap(period: Period) {
  return useQuery({
    queryKey: ["map", period],
    queryFn: ({ signal }) => getJson<ProcessMap>(withQuery("api/v1/flows/map", periodQuery(period)), signal),
  });
}

/** How many events of each type there are in the days of the map. */
function useCounts(map: ProcessMap | undefined) {
  const days = { from: map?.from ?? undefined, to: map?.to ?? undefined };
  const { data } = useQuery({
    queryKey: ["map-counts", days],
    queryFn: ({ signal }) => getJson<Aggregate>(withQuery("api/v1/events/aggregate", days), signal),
    enabled: map !== undefined,
  });
  return new Map((data?.byEventType ?? []).map(({ key, count }) => [key, count]));
}

export function MapPage() {
  useTitle("Map");
  const period = usePeriod();
  const map = useMap(period);
  const counts = useCounts(map.data);
  const [chosen, setChosen] = useState<string | null>(null);
  const [view, setView] = useState<"picture" | "table">("picture");
  return (
    <>
      <Bar>
        <span className="t3 only-wide" aria-hidden="true">
          /
        </span>
        <FlowTabs here="/map" />
        <span className="grow" />
        <PeriodMenu />
        <BarTools />
      </Bar>
      {map.isPending ? (
        <Loading rows={12} />
      ) : map.isError ? (
        <ErrorState error={map.error} />
      ) : map.data.pairs.length === 0 ? (
        <Empty title={period.from || period.to ? "Nothing led to anything in this period" : "Nothing has led to anything yet"}>
          <p className="t2">
            The map counts events that name another one as their cause, by causationId.{" "}
            {(period.from || period.to) && (
              <Link className="link" to="/map" search={{}}>
                Show all time
              </Link>
            )}
          </p>
        </Empty>
      ) : (
        <div className="map" data-view={view}>
          <span className="seg map-view" role="group" aria-label="Show the map as">
            {(["picture", "table"] as const).map((each) => (
              <button key={each} type="button" aria-pressed={view === each} onClick={() => setView(each)}>
                {each === "picture" ? "Picture" : "Table"}
              </button>
            ))}
          </span>
          <Suspense fallback={<div className="map-picture" />}>
            <Picture pairs={map.data.pairs} counts={counts} days={map.data} chosen={chosen} choose={setChosen} />
          </Suspense>
          <Pairs map={map.data} chosen={chosen} choose={setChosen} />
        </div>
      )}
    </>
  );
}

function Pairs({ map, chosen, choose }: { map: ProcessMap; chosen: string | null; choose: (key: string | null) => void }) {
  const types = new Set(map.pairs.flatMap(({ causeType, effectType }) => [causeType, effectType]));
  return (
    <section className="map-pairs" aria-labelledby="pairs">
      <div className="map-head">
        <h1 id="pairs">What leads to what</h1>
        <p className="t2 xs">
          {counted(types.size, "event type")}, {counted(map.pairs.length, "pair")}, {counted(map.links, "link")}. The same as the picture, as a list.
          Days are whole, in UTC; delays are at most {Math.round(map.delayError * 100)} % off.
        </p>
      </div>
      <table>
        <thead>
          <tr>
            <th>Cause → effect</th>
            <th className="r">Times</th>
            <th className="r">Failed</th>
            <th className="r">Half within</th>
          </tr>
        </thead>
        <tbody onMouseLeave={() => choose(null)}>
          {map.pairs.map((pair) => (
            <PairRow key={pairKey(pair)} pair={pair} days={map} isChosen={chosen === pairKey(pair)} choose={choose} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function PairRow({ pair, days, isChosen, choose }: { pair: Pair; days: ProcessMap; isChosen: boolean; choose: (key: string | null) => void }) {
  const key = pairKey(pair);
  return (
    <tr className={isChosen ? "sel" : ""} onMouseEnter={() => choose(key)} onFocus={() => choose(key)}>
      <td>
        <Link className="mono xs cut row-link" to="/explore" search={effects(pair, days)} title="Show the effects in Explore">
          {pair.causeType}
          <br />
          <span className="t2">→ {pair.effectType}</span>
        </Link>
      </td>
      <td className="r">{grouped(pair.events)}</td>
      <td className="r">
        <span className={pair.failures > 0 ? "fw" : "t3"}>{grouped(pair.failures)}</span>
      </td>
      <td className="r t2">{pair.p50Us === null ? "–" : durationWords(pair.p50Us)}</td>
    </tr>
  );
}
