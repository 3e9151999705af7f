import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { getJson } from "../api/client";
import type { LogEvent } from "../api/events";
import type { Counted } from "../actors/answers";
import { Screen } from "../frame/Screen";
import { Copy } from "../common/Copy";
import { Icon } from "../common/icons";
import { Actor, asOutcome, OutcomeMark } from "../common/marks";
import { Empty, ErrorState, Loading } from "../common/states";
import { exploring, term } from "../common/terms";
import { counted, durationWords, grouped } from "../common/times";
import { When } from "../common/When";
import { Timeline } from "./Timeline";
import "../actors/actors.css";
import "./resources.css";

interface ResourceSummary {
  resourceType: string;
  resourceId: string;
  events: number;
  failures: number;
  flows: number;
  firstAt: string | null;
  lastAt: string | null;
  byEventType: Counted[];
  actors: { actorType: string; actorId: string; count: number; failures: number; lastAt: string }[];
  moreActors?: number;
  lastEvent: LogEvent | null;
}

export function ResourcePage() {
  const { resourceType, resourceId } = useParams({ strict: false }) as { resourceType: string; resourceId: string };
  const path = `api/v1/resources/${encodeURIComponent(resourceType)}/${encodeURIComponent(resourceId)}/summary`;
  const summary = useQuery({ queryKey: ["resource", resourceType, resourceId], queryFn: ({ signal }) => getJson<ResourceSummary>(path, signal) });
  return (
    <Screen title={`${resourceType} ${resourceId.slice(0, 8)}`} within={{ to: "/resources", name: "Resources" }}>
      {summary.isPending ? (
        <Loading rows={10} />
      ) : summary.isError ? (
        <ErrorState error={summary.error} />
      ) : summary.data.events === 0 ? (
        <Empty title="No event about this resource is kept here">
          <p className="t2">
            Nothing has named <span className="mono">{resourceType}</span> <span className="mono">{resourceId}</span> as its resource, or what did is no longer kept.
          </p>
          <p>
            <Link className="link" to="/resources" search={{}}>
              Other resources
            </Link>
          </p>
        </Empty>
      ) : (
        <ResourceDetail resource={summary.data} />
      )}
    </Screen>
  );
}

function ResourceDetail({ resource }: { resource: ResourceSummary }) {
  const self = term("resource", `${resource.resourceType}/${resource.resourceId}`);
  return (
    <div className="body sc">
      <div className="actor-head">
        <OutcomeMark outcome={asOutcome(resource.lastEvent?.outcome)} size={24} />
        <div className="grow">
          <h2 className="page-title">{resource.resourceType}</h2>
          <p className="xs t3 fx g1">
            <span className="mono cut">{resource.resourceId}</span>
            <Copy text={resource.resourceId} what="Copy the id" />
          </p>
        </div>
        <Link className="btn o" to="/explore" search={exploring([self])}>
          <Icon name="explore" />
          In Explore
        </Link>
      </div>
      <div className="figs">
        <div>
          <div className="fig">{grouped(resource.events)}</div>
          <div className="xs t2">{resource.events === 1 ? "event" : "events"}</div>
        </div>
        <div>
          <div className={resource.failures > 0 ? "fig fail" : "fig"}>{grouped(resource.failures)}</div>
          <div className="xs t2">failed</div>
        </div>
        <div>
          <div className="fig">{grouped(resource.flows)}</div>
          <div className="xs t2">{resource.flows === 1 ? "flow" : "flows"}</div>
        </div>
        {resource.firstAt && resource.lastAt && (
          <div>
            <div className="fig">{durationWords((Date.parse(resource.lastAt) - Date.parse(resource.firstAt)) * 1000)}</div>
            <div className="xs t2">
              from <When at={resource.firstAt} /> to <When at={resource.lastAt} />
            </div>
          </div>
        )}
      </div>
      <div className="cols">
        <Timeline resourceType={resource.resourceType} resourceId={resource.resourceId} />
        <aside>
          <Touchers resource={resource} />
          <WhatHappened resource={resource} self={self} />
        </aside>
      </div>
    </div>
  );
}

function WhatHappened({ resource, self }: { resource: ResourceSummary; self: string }) {
  return (
    <section className="block">
      <h3 className="lab h">What happened</h3>
      {resource.byEventType.map(({ value, count, failures }) => (
        <div key={value} className="line">
          <Link className="link plain mono xs cut grow" to="/explore" search={exploring([self, term("type", value)])}>
            {value}
          </Link>
          {failures > 0 && <span className="fw xs">{grouped(failures)} failed</span>}
          <span className="t2">{grouped(count)}</span>
        </div>
      ))}
    </section>
  );
}

function Touchers({ resource }: { resource: ResourceSummary }) {
  return (
    <section className="block">
      <h3 className="lab h">
        Who touched it <span className="n">most events first</span>
      </h3>
      {resource.actors.map(({ actorType, actorId, count, failures, lastAt }) => (
        <div key={`${actorType} ${actorId}`} className="line">
          <Link className="link plain cut grow" to="/actors/$actorType/$actorId" params={{ actorType, actorId }} search={{}}>
            <Actor type={actorType} id={actorId} />
          </Link>
          {failures > 0 && <span className="fw xs">{grouped(failures)} failed</span>}
          <span className="t2">{counted(count, "event")}</span>
          <span className="xs t3 only-wide">
            last <When at={lastAt} />
          </span>
        </div>
      ))}
      {(resource.moreActors ?? 0) > 0 && <p className="t3 xs">and {counted(resource.moreActors ?? 0, "further actor")}</p>}
    </section>
  );
}
