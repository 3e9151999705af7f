import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { getJson, type Schemas } from "../api/client";
import type { EventPage } from "../api/events";
import { Bar } from "../frame/Bar";
import { BarTools, useTitle } from "../frame/Screen";
import type { Search } from "../common/search";
import { SentenceLine } from "../sentences/SentenceLine";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { Actor, OutcomeMark } from "../common/marks";
import { withQuery } from "../common/links";
import { usePages } from "../common/paging";
import { PeriodMenu, periodQuery, usePeriod, type Period } from "../common/Period";
import { useRowKeys } from "../common/rowkeys";
import { Empty, ErrorState, Loading } from "../common/states";
import { counted, durationWords, grouped } from "../common/times";
import { useZoneName, When } from "../common/When";
import { beginningOf, scaleOf, ticksOf } from "./shape";
import { FlowTabs } from "./Tabs";
import "../common/screens.css";
import "./flows.css";
import { visible } from "../common/visible";

type Flow = Schemas["Flow"];
type FlowPage = Schemas["FlowPage"];

const PAGE = 25;
/** Events of a flow that its shape is drawn from. */
const SHAPE_EVENTS = 100;
const SHAPE_WIDTH = 220;

/** How many flows there are, and how many with a failure. */
function useTotals(period: Period) {
  const total = (outcome?: "failure") => ({
    queryKey: ["flows-total", period, outcome],
    queryFn: async ({ signal }: { signal: AbortSignal }) =>
      (await getJson<FlowPage>(withQuery("api/v1/flows", { ...periodQuery(period), outcome, limit: 1 }), signal)).total,
    placeholderData: keepPreviousData,
  });
  return { all: useQuery(total()).data, failed: useQuery(total("failure")).data };
}

export function FlowsPage() {
  useTitle("Flows");
  const period = usePeriod();
  const navigate = useNavigate();
  const { failed } = useSearch({ strict: false }) as Search;
  const totals = useTotals(period);
  return (
    <>
      <Bar>
        <span className="t3 only-wide" aria-hidden="true">
          /
        </span>
        <h1 className="visually-hidden">Flows</h1>
        <FlowTabs here="/flows" />
        <span className="grow" />
        <button
          type="button"
          className="btn o only"
          aria-pressed={failed === "1"}
          onClick={() => void navigate({ to: "/flows", search: { ...periodQuery(period), ...(failed !== "1" && { failed: "1" }) } })}
        >
          <OutcomeMark outcome="failure" />
          <span className="only-wide">Only failed</span>
          {totals.failed !== undefined && <span className="t3">{grouped(totals.failed)}</span>}
        </button>
        <PeriodMenu />
        <BarTools />
      </Bar>
      <Flows period={period} onlyFailed={failed === "1"} totals={totals} />
    </>
  );
}

function Flows({ period, onlyFailed, totals }: { period: Period; onlyFailed: boolean; totals: { all: number | undefined; failed: number | undefined } }) {
  const pages = usePages<FlowPage>("api/v1/flows", { ...periodQuery(period), outcome: onlyFailed ? "failure" : undefined, limit: PAGE });
  if (pages.isPending) return <Loading rows={12} />;
  if (pages.isError) return <ErrorState error={pages.error} />;
  const flows = pages.data.pages.flatMap(({ body }) => body.flows);
  if (flows.length === 0) return <NoFlows period={period} onlyFailed={onlyFailed} all={totals.all} />;
  return (
    <>
      <Summary flows={flows} totals={totals} />
      <FlowTable flows={flows} />
      {pages.hasNextPage && (
        <p className="more">
          <button className="btn o" disabled={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>
            Show more
          </button>
          <span className="t3 xs">{grouped(flows.length)} are shown</span>
        </p>
      )}
    </>
  );
}

function NoFlows({ period, onlyFailed, all }: { period: Period; onlyFailed: boolean; all: number | undefined }) {
  const everything = useQuery({
    queryKey: ["flows-total", {}, undefined],
    queryFn: async ({ signal }) => (await getJson<FlowPage>("api/v1/flows?limit=1", signal)).total,
  }).data;
  if (onlyFailed && all) {
    return (
      <Empty title="No flow with a failure in this period">
        <p className="t2">
          Without “Only failed” there are {grouped(all)}.{" "}
          <Link className="link" to="/flows" search={periodQuery(period)}>
            Show all
          </Link>
        </p>
      </Empty>
    );
  }
  return (
    <Empty title={everything === 0 ? "There are no flows yet" : "No flow has its last event in this period"}>
      <p className="t2">
        {everything === 0 ? (
          "A flow begins with the first event that is stored. Events that share a correlationId are one flow."
        ) : (
          <>
            In all time there are {everything === undefined ? "others" : grouped(everything)}.{" "}
            <Link className="link" to="/flows" search={{}}>
              Show all time
            </Link>
          </>
        )}
      </p>
    </Empty>
  );
}

function Summary({ flows, totals }: { flows: readonly Flow[]; totals: { all: number | undefined; failed: number | undefined } }) {
  const types = new Set(flows.map(({ root }) => root.eventType));
  const lengths = flows.map(({ durationUs }) => durationUs).sort((a, b) => a - b);
  const median = lengths[Math.floor((lengths.length - 1) / 2)] ?? 0;
  return (
    <div className="flow-summary">
      {totals.all !== undefined && (
        <div>
          <span className="b">{grouped(totals.all)}</span> <span className="t2">{totals.all === 1 ? "flow" : "flows"}</span>
        </div>
      )}
      {totals.failed !== undefined && (
        <div>
          <span className="b">{grouped(totals.failed)}</span> <span className="t2">with a failure</span>
        </div>
      )}
      {types.size === 1 && (
        <div className="only-wide">
          <span className="t2">{flows.length === totals.all ? "all begin" : "these begin"} with</span>{" "}
          <span className="mono">{flows[0]?.root.eventType}</span>
        </div>
      )}
      {flows.length > 1 && (
        <div className="only-wide rest">
          <span className="b">{durationWords(median)}</span> <span className="t2">median length of these {grouped(flows.length)}</span>
        </div>
      )}
      <span className="grow" />
      <span className="t3 xs only-wide">latest activity first</span>
    </div>
  );
}

function FlowTable({ flows }: { flows: readonly Flow[] }) {
  const zone = useZoneName();
  const area = useRowKeys<HTMLDivElement>("Flows");
  const scaleUs = scaleOf(flows.map(({ durationUs }) => durationUs));
  return (
    <div className="flow-list" ref={area}>
      <table>
        <thead>
          <tr>
            <th>
              <span className="visually-hidden">Outcome</span>
            </th>
            <th>How it began</th>
            <th>Last event, {zone}</th>
            <th className="r">Events</th>
            <th className="r only-wide">Length</th>
            <th className="shape">Shape, 0 to {durationWords(scaleUs)}</th>
            <th className="r only-wide">Failed</th>
            <th className="id">Flow</th>
          </tr>
        </thead>
        <tbody>
          {flows.map((flow) => (
            <FlowRow key={flow.correlationId} flow={flow} scaleUs={scaleUs} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Whether an element was seen once. */
function useSeen<Element extends HTMLElement>() {
  const ref = useRef<Element>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (seen || !ref.current) return;
    const observer = new IntersectionObserver((entries) => entries.some(({ isIntersecting }) => isIntersecting) && setSeen(true), { rootMargin: "200px" });
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, [seen]);
  return { ref, seen };
}

function FlowRow({ flow, scaleUs }: { flow: Flow; scaleUs: number }) {
  const navigate = useNavigate();
  const { ref, seen } = useSeen<HTMLTableRowElement>();
  const events = useQuery({
    queryKey: ["flow-shape", flow.correlationId, flow.lastAt, flow.events],
    queryFn: ({ signal }) =>
      getJson<EventPage>(
        withQuery(`api/v1/events/correlation/${encodeURIComponent(flow.correlationId)}`, { limit: SHAPE_EVENTS, include: "position,recordedAt,outcome" }),
        signal,
      ),
    enabled: seen,
    staleTime: Number.POSITIVE_INFINITY,
  }).data?.events;
  const to = { to: "/flows/$flowId", params: { flowId: flow.correlationId } } as const;
  return (
    <tr ref={ref} className="go" onClick={() => void navigate(to as never)}>
      <td className="mark">
        <OutcomeMark outcome={flow.failures > 0 ? "failure" : "success"} />
      </td>
      <td className="began">
        <Link {...(to as object as { to: string })} className="row-link cut" onClick={(event) => event.stopPropagation()}>
          <Beginning flow={flow} events={events} />
        </Link>
        <span className="only-phone t3 xs cut">
          <When at={flow.lastAt} /> · {counted(flow.events, "event")} · {durationWords(flow.durationUs)}
          {flow.failures > 0 && <span className="fw"> · {flow.failures} failed</span>}
        </span>
      </td>
      <td className="xs t2 time">
        <When at={flow.lastAt} />
      </td>
      <td className="r">
        {flow.atLeast && "≥ "}
        {grouped(flow.events)}
      </td>
      <td className="r only-wide">{durationWords(flow.durationUs)}</td>
      <td className="shape">
        <Shape flow={flow} events={events} scaleUs={scaleUs} />
      </td>
      <td className="r only-wide">
        <span className={flow.failures > 0 ? "fw" : "t3"}>{grouped(flow.failures)}</span>
      </td>
      <td className="id xs mono t3">
        <span className="cut">{visible(flow.correlationId)}</span>
      </td>
    </tr>
  );
}

function Beginning({ flow, events }: { flow: Flow; events: EventPage["events"] | undefined }) {
  const words = useWords();
  if (events === undefined || events.length === 0) {
    return (
      <>
        <Actor type={flow.root.actorType} id={flow.root.actorId} /> <span className="t2">{flow.root.eventType}</span>
      </>
    );
  }
  const event = beginningOf(events, (each) => sentenceOfEvent(each, words).isQuote);
  return event ? <SentenceLine sentence={sentenceOfEvent(event, words)} actorType={event.actorType} /> : null;
}

function Shape({ flow, events, scaleUs }: { flow: Flow; events: EventPage["events"] | undefined; scaleUs: number }) {
  const length = Math.min(1, flow.durationUs / scaleUs) * SHAPE_WIDTH;
  const isCut = flow.durationUs > scaleUs;
  const ticks = ticksOf(events ?? [], flow.firstAt, scaleUs, SHAPE_WIDTH);
  return (
    <svg width={SHAPE_WIDTH + 12} height="18" viewBox={`-6 0 ${SHAPE_WIDTH + 12} 18`} aria-hidden="true">
      <line x1={0} x2={length} y1={9} y2={9} stroke="var(--line-strong)" />
      {ticks.map(({ x, failed }, index) =>
        failed ? (
          <path key={index} d={`M${x - 2.5} 6.5l5 5m0-5l-5 5`} stroke="var(--fail)" strokeWidth="1.75" strokeLinecap="round" />
        ) : (
          <line key={index} x1={x} x2={x} y1={6} y2={12} stroke="var(--none)" strokeWidth="1.25" />
        ),
      )}
      {isCut && <path d={`M${SHAPE_WIDTH} 6l3 3-3 3`} fill="none" stroke="var(--text-3)" strokeWidth="1.25" />}
    </svg>
  );
}
