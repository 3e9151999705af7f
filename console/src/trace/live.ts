import { useEffect, useRef, useState } from "react";
import { ROOT } from "../api/client";

/** Flows that one stream follows. */
const FLOWS_MAX = 20;

/** The least time between two readings of a trace that grows. */
const READ_EVERY_MS = 1_000;

/** Follows the flows of a trace: calls `read` soon after events arrive, and counts them. The browser reconnects. */
export function useArrivals(flows: readonly string[], read: () => Promise<unknown>): number {
  const [arrived, setArrived] = useState(0);
  const latest = useRef(read);
  latest.current = read;
  const address = flows.slice(0, FLOWS_MAX).map((flow) => `correlation_id=${encodeURIComponent(flow)}`).join("&");
  useEffect(() => {
    if (address === "") return;
    setArrived(0);
    const source = new EventSource(`${ROOT}api/v1/events/stream?${address}`);
    let timer: ReturnType<typeof setTimeout> | undefined;
    let wait = READ_EVERY_MS;
    const readNow = async () => {
      const began = performance.now();
      await latest.current().catch(() => undefined);
      // A large trace takes long to read, and is read less often.
      wait = Math.max(READ_EVERY_MS, 10 * (performance.now() - began));
      timer = undefined;
    };
    source.onmessage = () => {
      setArrived((count) => count + 1);
      timer ??= setTimeout(() => void readNow(), wait);
    };
    return () => {
      source.close();
      clearTimeout(timer);
    };
  }, [address]);
  return arrived;
}
