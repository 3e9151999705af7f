import { useQuery } from "@tanstack/react-query";
import { Link, Navigate, useParams } from "@tanstack/react-router";
import { getJson } from "../api/client";
import type { EventPage } from "../api/events";
import { Bar } from "../frame/Bar";
import { Empty, ErrorState, Loading } from "../common/states";

/** A flow is shown as the trace of its first event. */
export function FlowPage() {
  const { flowId = "" } = useParams({ strict: false });
  const query = useQuery({
    queryKey: ["flow", flowId, "first"],
    queryFn: ({ signal }) => getJson<EventPage>(`api/v1/events/correlation/${encodeURIComponent(flowId)}?limit=1`, signal),
  });
  const first = query.data?.events[0];
  if (first !== undefined) return <Navigate to="/trace/$eventId" params={{ eventId: first.id }} search={{}} replace />;
  return (
    <>
      <Bar>
        <nav className="crumb" aria-label="Where this is">
          <Link to="/flows" search={{}}>
            Flows
          </Link>
          <span>/</span>
          <b className="mono cut">{flowId}</b>
        </nav>
      </Bar>
      {query.isError ? <ErrorState error={query.error} retry={() => void query.refetch()} /> : null}
      {query.isPending ? <Loading /> : null}
      {query.isSuccess && first === undefined ? (
        <Empty title="This flow has no events.">
          <p className="t2">Nothing with this flow id is in the log, or this key may not read it.</p>
        </Empty>
      ) : null}
    </>
  );
}
