import { useQuery } from "@tanstack/react-query";
import { getJson, ROOT, type Schemas } from "../api/client";

/** The newest checkpoint of the log, null before the first, undefined while it is read or for a narrowed key. */
export function useCheckpoint(): Schemas["Checkpoint"] | null | undefined {
  return useQuery({
    queryKey: ["checkpoint"],
    queryFn: async ({ signal }) => (await getJson<Schemas["Checkpoints"]>("api/v1/log/checkpoints?limit=1", signal)).checkpoints[0] ?? null,
    retry: false,
    staleTime: 2_000,
  }).data;
}

/** The proof of an event as a file, or why there is none yet. Nothing is verified in this page, and it says so. */
export function ProofLink({ id, position }: { id: string; position: number }) {
  const checkpoint = useCheckpoint();
  if (!checkpoint) return <span>Its hash is stored</span>;
  if (checkpoint.size < position) return <span>Its hash is stored; the next checkpoint will include it</span>;
  return (
    <a className="link" href={`${ROOT}api/v1/events/${id}/proof`} download={`${id}.tlog-proof`} title="whence verify --proof FILE --key KEY checks it offline">
      Save its proof
    </a>
  );
}
