import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { getJson } from "../api/client";
import type { EventPage, LogEvent } from "../api/events";
import { Icon } from "../common/icons";
import { withQuery } from "../common/links";
import { Pop } from "../common/Pop";
import { ErrorState, Loading } from "../common/states";
import { term } from "../common/terms";
import { counted } from "../common/times";
import type { Found } from "../palette/matches";
import { BESIDE_MAX, nameText, relatedTo, type ResourceName } from "./together";

/** Resources of the same flow that are offered. */
const OFFERED = 6;

/** Chooses a resource to be shown beside those of a timeline: one of its latest flow, or one whose id is typed or pasted. */
export function AddBeside({ shown, latest, onAdd }: { shown: readonly ResourceName[]; latest: LogEvent | undefined; onAdd: (name: ResourceName) => void }) {
  const [opened, setOpened] = useState(false);
  return (
    <Pop
      name="Another resource beside it"
      className="btn o"
      onOpen={() => setOpened(true)}
      label={
        <>
          <Icon name="plus" small />
          Beside
        </>
      }
    >
      {(close) =>
        shown.length > BESIDE_MAX ? (
          <p className="pick t2">{counted(BESIDE_MAX, "resource")} beside it are the most. Take one away first.</p>
        ) : (
          opened && (
            <Picker
              shown={shown}
              flow={latest?.correlationId}
              onAdd={(name) => {
                close();
                setOpened(false);
                onAdd(name);
              }}
            />
          )
        )
      }
    </Pop>
  );
}

interface Offered extends ResourceName {
  events: number | null;
}

function Picker({ shown, flow, onAdd }: { shown: readonly ResourceName[]; flow: string | undefined; onAdd: (name: ResourceName) => void }) {
  const field = useId();
  const [typed, setTyped] = useState("");
  const text = typed.trim();
  const found = useQuery({
    queryKey: ["search", text],
    queryFn: ({ signal }) => getJson<Found>(withQuery("api/v1/search", { text }), signal),
    enabled: text.length >= 2,
    placeholderData: keepPreviousData,
  });
  const ofFlow = useQuery({
    queryKey: ["resources-of-flow", flow],
    queryFn: ({ signal }) => getJson<EventPage>(withQuery("api/v1/events", { q: term("flow", flow ?? ""), limit: 100 }), signal),
    enabled: flow !== undefined,
  });
  const isOffered = (name: ResourceName) => !shown.some((one) => nameText(one) === nameText(name));
  const matches: Offered[] = (found.data?.matches ?? []).flatMap((match) => (match.kind === "resource" ? [match] : []));
  const near: Offered[] = relatedTo(shown, ofFlow.data?.events ?? []);
  const offered = (text.length >= 2 ? matches.filter(isOffered) : near).slice(0, OFFERED);
  return (
    <form
      className="pick"
      onSubmit={(event) => {
        event.preventDefault();
        if (text !== "" && offered[0] !== undefined && !found.isPlaceholderData) onAdd(offered[0]);
      }}
    >
      <label className="visually-hidden" htmlFor={field}>
        The resource
      </label>
      <input id={field} value={typed} onChange={(event) => setTyped(event.target.value)} placeholder="Its id, or type/id" autoComplete="off" spellCheck={false} />
      {text.length < 2 ? (
        <h2>{ofFlow.isPending ? "Reading its flow…" : near.length > 0 ? "In the same flow" : "No other resource in the same flow"}</h2>
      ) : found.isPending ? (
        <Loading rows={2} />
      ) : found.isError ? (
        <ErrorState error={found.error} />
      ) : (
        <h2 role="status">{offered.length > 0 ? "Found" : matches.length > 0 ? "It is shown already" : "No resource has this id"}</h2>
      )}
      <ul>
        {offered.map((name) => (
          <li key={nameText(name)}>
            <button type="button" className="item" onClick={() => onAdd({ resourceType: name.resourceType, resourceId: name.resourceId })}>
              <span className="grow cut">
                {name.resourceType} <span className="mono t2">{name.resourceId.slice(0, 8)}</span>
              </span>
              {name.events !== null && <span className="t3">{counted(name.events, "event")}</span>}
            </button>
          </li>
        ))}
      </ul>
    </form>
  );
}
