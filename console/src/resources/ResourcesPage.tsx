import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { getJson, type Schemas } from "../api/client";
import type { EventPage } from "../api/events";
import { Screen } from "../frame/Screen";
import { matchWords, placeOf, type Found, type Match } from "../palette/matches";
import type { Search } from "../common/search";
import { SentenceLine } from "../sentences/SentenceLine";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { Icon } from "../common/icons";
import { withQuery } from "../common/links";
import { asOutcome, OutcomeMark } from "../common/marks";
import { useRowKeys } from "../common/rowkeys";
import { useShortcuts } from "../common/shortcuts";
import { Empty, ErrorState, Loading } from "../common/states";
import { exploring, term } from "../common/terms";
import { counted, grouped } from "../common/times";
import { useZoneName, When } from "../common/When";
import { touchedIn, type Touched } from "./recent";
import "./resources.css";

export function ResourcesPage() {
  const { text } = useSearch({ strict: false }) as Search;
  return (
    <Screen title="Resources">
      <div className="body sc flush">
        <SearchBox text={text ?? ""} />
        {text && text.length >= 2 ? <Results text={text} /> : <Recent />}
      </div>
    </Screen>
  );
}

function SearchBox({ text }: { text: string }) {
  const navigate = useNavigate();
  const [typed, setTyped] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => {
      const wanted = typed.trim();
      if (wanted !== text) void navigate({ to: "/resources", search: wanted === "" ? {} : { text: wanted }, replace: true });
    }, 200);
    return () => clearTimeout(timer);
  }, [typed, text, navigate]);
  const focus = (event: KeyboardEvent) => {
    event.preventDefault();
    document.getElementById("resource-search")?.focus();
  };
  useShortcuts("Resources", [
    { keys: "/", does: "Search", run: focus },
    { keys: "Shift+/", does: "Search", run: focus },
  ]);
  return (
    <form role="search" className="search-box" onSubmit={(event) => event.preventDefault()}>
      <Icon name="search" />
      <input
        id="resource-search"
        type="search"
        aria-label="Find a resource"
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        placeholder="The id of a resource, its beginning, or type/id"
        spellCheck={false}
        autoComplete="off"
      />
      <kbd className="only-wide">/</kbd>
    </form>
  );
}

function Results({ text }: { text: string }) {
  const found = useQuery({
    queryKey: ["search", text],
    queryFn: ({ signal }) => getJson<Found>(`api/v1/search?text=${encodeURIComponent(text)}`, signal),
    placeholderData: keepPreviousData,
  });
  if (found.isPending) return <Loading rows={4} />;
  if (found.isError) return <ErrorState error={found.error} />;
  const { matches } = found.data;
  if (matches.length === 0) {
    return (
      <Empty title="Nothing here has this id">
        <p className="t2">An id may be given whole or by its first characters. Ids of events, flows and actors are found too.</p>
        <p>
          <Link className="link" to="/resources" search={{}}>
            Clear the search
          </Link>
        </p>
      </Empty>
    );
  }
  return (
    <ul className="found">
      {[...matches.filter(isResource), ...matches.filter((match) => !isResource(match))].map((match) => {
        const { name, detail, count } = matchWords(match);
        return (
          <li key={JSON.stringify(placeOf(match))}>
            <Link {...(placeOf(match) as { to: string })} className="row-link found-row">
              <Icon name={match.kind === "resource" ? "resources" : match.kind === "actor" ? "actors" : match.kind === "flow" ? "flows" : "explore"} />
              <span className="mono cut">{name}</span>
              <span className="t3 grow cut">{detail}</span>
              {count !== null && <span className="t2">{counted(count, "event")}</span>}
            </Link>
          </li>
        );
      })}
    </ul>
  );
}

const isResource = (match: Match) => match.kind === "resource";

function Recent() {
  const zone = useZoneName();
  const area = useRowKeys<HTMLDivElement>("Recent resources");
  const latest = useQuery({
    queryKey: ["latest-events"],
    queryFn: ({ signal }) => getJson<EventPage>(withQuery("api/v1/events", { limit: 100, include: "position,recordedAt,outcome" }), signal),
  });
  if (latest.isPending) return <Loading rows={10} />;
  if (latest.isError) return <ErrorState error={latest.error} />;
  const touched = touchedIn(latest.data.events);
  if (touched.length === 0) return <Empty title="No event names a resource yet" />;
  return (
    <div ref={area}>
      <Kinds />
      <div className="recent">
        <h2 className="lab h">
          Touched by the latest {counted(latest.data.events.length, "event")} <span className="n">latest first</span>
        </h2>
        <table>
          <thead>
            <tr>
              <th>
                <span className="visually-hidden">Outcome</span>
              </th>
              <th>Resource</th>
              <th className="only-wide">What happened last</th>
              <th className="r only-wide">Events</th>
              <th className="r">Last, {zone}</th>
            </tr>
          </thead>
          <tbody>
            {touched.map((each) => (
              <TouchedRow key={`${each.resourceType} ${each.resourceId}`} touched={each} />
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function TouchedRow({ touched }: { touched: Touched }) {
  const words = useWords();
  const navigate = useNavigate();
  const to = { to: "/r/$resourceType/$resourceId", params: { resourceType: touched.resourceType, resourceId: touched.resourceId }, search: {} };
  return (
    <tr className="go" onClick={() => void navigate(to as never)}>
      <td className="mark">
        <OutcomeMark outcome={asOutcome(touched.last.outcome)} />
      </td>
      <td className="fit">
        <Link {...(to as { to: string })} className="row-link" onClick={(event) => event.stopPropagation()}>
          {touched.resourceType} <span className="mono t2">{touched.resourceId.slice(0, 8)}</span>
        </Link>
      </td>
      <td className="only-wide last">
        <SentenceLine sentence={sentenceOfEvent(touched.last, words)} actorType={touched.last.actorType} />
      </td>
      <td className="r only-wide">{grouped(touched.events)}</td>
      <td className="r xs t2">
        <When at={touched.last.occurredAt} />
      </td>
    </tr>
  );
}

/** The types of resources, by their events. */
function Kinds() {
  const { data } = useQuery({
    queryKey: ["aggregate"],
    queryFn: ({ signal }) => getJson<Schemas["EventAggregate"]>("api/v1/events/aggregate", signal),
  });
  if (!data) return null;
  return (
    <ul className="kinds" aria-label="Types of resources">
      {data.byResourceType.map(({ key, count }) => (
        <li key={key}>
          <Link className="kind" to="/explore" search={exploring([term("resource", key)])}>
            <span>{key}</span> <span className="t3">{grouped(count)}</span>
          </Link>
        </li>
      ))}
    </ul>
  );
}
