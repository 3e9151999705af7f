import { useRemoved } from "../common/removed";
import { useSession } from "../session/session";
import { useCheckpoint } from "./Proof";

/** What this reader can know of a cause that is not here: the id of a removed event is forgotten, like one that never came. */
export type Absence = "not received" | "perhaps removed" | "perhaps not shown";

export const ABSENT: Record<Absence, string> = {
  "not received": "has not arrived",
  "perhaps removed": "has not arrived, or was removed by retention",
  "perhaps not shown": "has not arrived, or may not be seen with this key",
};

export function useAbsence(isMissing: boolean): Absence {
  const isNarrow = useSession()?.scopes.some((scope) => scope.startsWith("events:read:")) ?? false;
  const checkpoint = useCheckpoint(isMissing && !isNarrow);
  const removed = useRemoved(isMissing && !isNarrow ? checkpoint?.size : undefined);
  if (isNarrow) return "perhaps not shown";
  return removed ? "perhaps removed" : "not received";
}
