import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api, data, type Schemas } from "../api/client";
import type { Search } from "../common/search";
import { Failed } from "../common/Failed";
import { Icon } from "../common/icons";
import { ErrorState, Loading } from "../common/states";
import { counted } from "../common/times";
import { useZoneName, When } from "../common/When";
import { DeliveryState } from "./state";

type State = Schemas["Delivery"]["state"];
const STATES: readonly (State | undefined)[] = [undefined, "failed", "pending", "delivered"];

/** The deliveries of a webhook, each with its attempts. */
export function Deliveries({ webhookId }: { webhookId: string }) {
  const navigate = useNavigate();
  const { state } = useSearch({ strict: false }) as Search;
  const wanted = STATES.find((each) => each === state);
  return (
    <section style={{ marginTop: 18 }}>
      <div className="fx g3" style={{ flexWrap: "wrap" }}>
        <h3 className="lab h" style={{ margin: 0 }}>
          Deliveries
        </h3>
        <span className="seg" role="group" aria-label="State">
          {STATES.map((each) => (
            <button
              key={each ?? "all"}
              type="button"
              aria-pressed={wanted === each}
              onClick={() => void navigate({ to: "/webhooks/$webhookId", params: { webhookId }, search: each ? { state: each } : {} })}
            >
              {each ?? "all"}
            </button>
          ))}
        </span>
      </div>
      <List webhookId={webhookId} state={wanted} />
    </section>
  );
}

function List({ webhookId, state }: { webhookId: string; state: State | undefined }) {
  const zone = useZoneName();
  const [open, setOpen] = useState<string | null>(null);
  const pages = useInfiniteQuery({
    queryKey: ["webhooks", webhookId, "deliveries", state],
    queryFn: ({ pageParam, signal }) =>
      data(
        api.GET("/api/v1/webhooks/{webhook_id}/deliveries", {
          params: {
            path: { webhook_id: webhookId },
            query: { limit: 50, ...(state && { state }), ...(pageParam !== null && { after: pageParam as never }) },
          },
          signal,
        }),
      ),
    initialPageParam: null as string | number | null,
    getNextPageParam: ({ nextAfter }) => nextAfter,
    refetchInterval: 5_000,
  });
  if (pages.isPending) return <Loading rows={3} />;
  if (pages.isError) return <ErrorState error={pages.error} />;
  const deliveries = pages.data.pages.flatMap((page) => page.deliveries);
  if (deliveries.length === 0) {
    return <p className="t3" style={{ padding: "12px 0" }}>{state ? `No delivery is ${state}.` : "Nothing was sent yet. It sends what is stored after it was made."}</p>;
  }
  return (
    <>
      <table>
        <thead>
          <tr>
            <th>Position</th>
            <th>State</th>
            <th className="r">Attempts</th>
            <th className="only-wide">Next, {zone}</th>
            <th className="r">Changed, {zone}</th>
          </tr>
        </thead>
        <tbody>
          {deliveries.map((delivery) => {
            const key = String(delivery.position);
            const toggle = () => setOpen(open === key ? null : key);
            return <Row key={key} webhookId={webhookId} delivery={delivery} isOpen={open === key} toggle={toggle} />;
          })}
        </tbody>
      </table>
      {pages.hasNextPage && (
        <button type="button" className="btn o" style={{ marginTop: 8 }} onClick={() => void pages.fetchNextPage()}>
          Show more
        </button>
      )}
    </>
  );
}

/** A delivery; open, it shows its attempts. */
function Row({ webhookId, delivery, isOpen, toggle }: { webhookId: string; delivery: Schemas["Delivery"]; isOpen: boolean; toggle: () => void }) {
  return (
    <>
      <tr>
        <td>
          <button type="button" className="fx g1" aria-expanded={isOpen} onClick={toggle}>
            <Icon name={isOpen ? "down" : "right"} small />
            {typeof delivery.position === "number" ? `@${delivery.position}` : "delivery"}
          </button>
        </td>
        <td>
          <DeliveryState state={delivery.state} />
        </td>
        <td className="r">{delivery.attempts}</td>
        <td className="xs t2 only-wide">{delivery.dueAt ? <When at={delivery.dueAt} /> : "–"}</td>
        <td className="r xs t2">
          <When at={delivery.changedAt} />
        </td>
      </tr>
      {isOpen && (
        <tr className="detail-row">
          <td colSpan={5}>
            <Attempts webhookId={webhookId} position={String(delivery.position)} changedAt={delivery.changedAt} />
          </td>
        </tr>
      )}
    </>
  );
}

function Attempts({ webhookId, position, changedAt }: { webhookId: string; position: string; changedAt: string }) {
  const client = useQueryClient();
  const path = { webhook_id: webhookId, position };
  const detail = useQuery({
    queryKey: ["webhooks", webhookId, "delivery", position, changedAt],
    queryFn: ({ signal }) => data(api.GET("/api/v1/webhooks/{webhook_id}/deliveries/{position}", { params: { path }, signal })),
  });
  const resend = useMutation({
    mutationFn: () => data(api.POST("/api/v1/webhooks/{webhook_id}/deliveries/{position}/resend", { params: { path } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["webhooks", webhookId] }),
  });
  if (detail.isPending) return <Loading rows={1} />;
  if (detail.isError) return <ErrorState error={detail.error} />;
  const { history, eventId } = detail.data;
  return (
    <div>
      <p className="fx g3">
        {eventId && (
          <Link className="link" to="/e/$eventId" params={{ eventId }} search={{}}>
            The event
          </Link>
        )}
        <span className="t2">{counted(history.length, "attempt")} on record</span>
        <button type="button" className="btn o" disabled={resend.isPending} onClick={() => resend.mutate()}>
          Send again
        </button>
        {resend.isSuccess && <span className="t2">It is sent again.</span>}
      </p>
      <Failed error={resend.error} />
      {history.map((attempt) => (
        <AttemptLine key={attempt.number} attempt={attempt} />
      ))}
    </div>
  );
}

/** Whether the receiver took it: every answer but a 2xx is a failure. */
export function wasTaken({ status }: Schemas["Attempt"]): boolean {
  return status !== null && status >= 200 && status < 300;
}

/** One attempt: when, the status, how long it took, and what went wrong or was answered. */
export function AttemptLine({ attempt }: { attempt: Schemas["Attempt"] }) {
  const isGood = wasTaken(attempt);
  return (
    <div className="attempt">
      <span className="t3">{attempt.number}</span>
      <span className="t2">
        <When at={attempt.startedAt} />
      </span>
      <span className={isGood ? "okw" : "fw"}>{attempt.status === null ? "no answer" : `status ${attempt.status}`}</span>
      <span className="t2 r">{attempt.durationMs} ms</span>
      <span style={{ overflowWrap: "anywhere" }}>
        {attempt.error && <span className="fw">{attempt.error} </span>}
        {attempt.answer && <span className="mono t2">{attempt.answer}</span>}
      </span>
    </div>
  );
}
