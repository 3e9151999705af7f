import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { getJson, type Schemas } from "../api/client";
import type { EventPage, LogEvent } from "../api/events";
import { withQuery } from "../common/links";
import { Actor } from "../common/marks";
import { usePages } from "../common/paging";
import { ErrorState, Loading } from "../common/states";
import { exploring, term } from "../common/terms";
import { counted, grouped } from "../common/times";
import { useZoneName, When } from "../common/When";
import { facetsOptions } from "../explore/answers";
import { allows, useSession } from "../session/session";
import { askedOf, exploredAs, filtersOf, routeWords } from "./asked";

interface Kind {
  eventType: string;
  /** The word of WHENCE_RECORD that records these. */
  word: "exports" | "reads";
  title: string;
  /** What is recorded, as the object of a sentence. */
  what: string;
  none: string;
  /** What else somebody has to know. */
  more: string;
}

const EXPORTS: Kind = {
  eventType: "whence.exported",
  word: "exports",
  title: "Exports",
  what: "every export, before its first part is sent",
  none: "No export is recorded",
  more: "An export goes up to a position, so it can be made again.",
};

const READS: Kind = {
  eventType: "whence.events_read",
  word: "reads",
  title: "Who looked",
  what: "every question about events, before it is answered",
  none: "No look at events is recorded",
  more: "Looking at this page is recorded too, and every read then costs a write.",
};

/** Which exports were made, and by whom. */
export const Exports = () => <Recorded kind={EXPORTS} />;

/** Who looked at what. */
export const Reads = () => <Recorded kind={READS} />;

/** What the log records of its own use, newest first. */
function Recorded({ kind }: { kind: Kind }) {
  const self = term("type", kind.eventType);
  const pages = usePages<EventPage>("api/v1/events", { q: self, limit: 50, include: "position,recordedAt,outcome" });
  const zone = useZoneName();
  if (pages.isPending) return <Loading rows={8} />;
  if (pages.isError) return <ErrorState error={pages.error} />;
  const events = pages.data.pages.flatMap(({ body }) => body.events);
  if (events.length === 0) return <Off kind={kind} />;
  return (
    <>
      <How kind={kind} />
      <Who self={self} />
      <section className="block">
        <h3 className="lab h">
          {kind.title} <span className="n">{counted(pages.data.pages[0]?.body.total ?? 0, "record")}, the latest first</span>
        </h3>
        <table className="recorded">
          <thead>
            <tr>
              <th>When, {zone}</th>
              <th>Who</th>
              <th>What</th>
              {kind.word === "exports" && <th className="r only-wide">Up to position</th>}
              <th />
            </tr>
          </thead>
          <tbody>
            {events.map((event) => (
              <RecordRow key={event.id} event={event} kind={kind} />
            ))}
          </tbody>
        </table>
        {pages.hasNextPage && (
          <button className="btn o" disabled={pages.isFetchingNextPage} onClick={() => void pages.fetchNextPage()}>
            Show more
          </button>
        )}
      </section>
    </>
  );
}

function RecordRow({ event, kind }: { event: LogEvent; kind: Kind }) {
  const asked = askedOf(event.payload ?? {});
  const again = exploredAs(asked);
  const filters = filtersOf(asked.query);
  return (
    <tr>
      <td className="xs">
        <Link className="link plain" to="/e/$eventId" params={{ eventId: event.id }} search={{}}>
          <When at={event.occurredAt} />
        </Link>
      </td>
      <td className="by">
        <Principal type={event.actorType} id={event.actorId} />
      </td>
      <td className="asked" title={`${asked.path}${asked.query && "?"}${asked.query}`}>
        <span className="chips">
          <span>{routeWords(asked.path) ?? <bdi className="mono xs">{asked.path || "not kept"}</bdi>}</span>
          {filters.map((filter, index) => (
            <bdi key={index} className="tag mono cut">
              {filter}
            </bdi>
          ))}
        </span>
      </td>
      {kind.word === "exports" && <td className="r only-wide">{asked.asOf === null ? "" : grouped(asked.asOf)}</td>}
      <td className="r xs">
        {again && (
          <Link className="link" to="/explore" search={again}>
            Explore
          </Link>
        )}
      </td>
    </tr>
  );
}

/** Who asked: the name of a key, to those who may see keys. */
function Principal({ type, id }: { type: string; id: string }) {
  const session = useSession();
  const keys = useQuery({
    queryKey: ["key-names"],
    queryFn: ({ signal }) => getJson<Schemas["Keys"]>(withQuery("api/v1/keys", { limit: 100 }), signal),
    enabled: session !== null && session !== undefined && allows(session, "admin"),
    staleTime: 60_000,
    retry: false,
  }).data;
  const name = type === "api_key" ? keys?.keys.find((key) => key.id === id)?.name : null;
  return (
    <Link className="link plain cut" to="/actors/$actorType/$actorId" params={{ actorType: type, actorId: id }} search={{}} title={id}>
      <Actor type={type} id={name || id} />
    </Link>
  );
}

/** Who asked how often; nothing where it was one alone. */
function Who({ self }: { self: string }) {
  const facet = useQuery(facetsOptions({ q: self, from: undefined, to: undefined })).data?.facets.actor;
  if (!facet || facet.values.length < 2) return null;
  return (
    <section className="block">
      <h3 className="lab h">Who, most first</h3>
      {facet.values.map(({ actorType = "", actorId = "", count }) => (
        <div key={`${actorType} ${actorId}`} className="line">
          <Principal type={actorType} id={actorId} />
          <span className="grow" />
          <Link className="link plain t2" to="/explore" search={exploring([self, term("actor", `${actorType}/${actorId}`)])}>
            {counted(count, "time")}
          </Link>
        </div>
      ))}
      {facet.more > 0 && <p className="t3 xs">and {counted(facet.more, "further actor")}</p>}
    </section>
  );
}

function Off({ kind }: { kind: Kind }) {
  return (
    <div className="state">
      <p className="b">{kind.none}</p>
      <How kind={kind}>
        It is off unless the operator switches it on, since these events count like all others. To switch it on, add <code className="mono">{kind.word}</code> to the
        setting, and start the server anew:
      </How>
      <pre className="code">{`WHENCE_RECORD=${kind.word}`}</pre>
    </div>
  );
}

/** When these are recorded. The page cannot see the setting, so it says what holds in both cases. */
function How({ kind, children }: { kind: Kind; children?: ReactNode }) {
  return (
    <p className="t2 how">
      While <code className="mono">WHENCE_RECORD</code> names <code className="mono">{kind.word}</code>, the log records {kind.what}: by whom, with which filters. What the commands
      do to a store itself is not recorded. {children ?? kind.more}
    </p>
  );
}
