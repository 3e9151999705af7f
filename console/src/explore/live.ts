import { createParser } from "eventsource-parser";
import { useEffect, useRef, useState } from "react";
import { ApiError, send } from "../api/client";
import { withoutNames } from "./terms";

/** `waiting` is how many events have arrived since `took` was called. */
export interface Live {
  state: "off" | "connecting" | "on" | "refused";
  waiting: number;
  took: () => void;
}

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
const COUNT_MS = 250;

/** Counts the events that match the query as they arrive. Only the count is kept, so a long watch takes no memory. */
export function useLive(on: boolean, q: string): Live {
  const [state, setState] = useState<Live["state"]>("off");
  const [waiting, setWaiting] = useState(0);
  const arrived = useRef(0);
  useEffect(() => {
    arrived.current = 0;
    setWaiting(0);
    if (!on) {
      setState("off");
      return;
    }
    const controller = new AbortController();
    const timer = setInterval(() => setWaiting(arrived.current), COUNT_MS);
    void follow(withoutNames(q, ["since", "until"]), controller.signal, setState, () => arrived.current++);
    return () => {
      controller.abort();
      clearInterval(timer);
    };
  }, [on, q]);
  const took = () => {
    arrived.current = 0;
    setWaiting(0);
  };
  return { state, waiting, took };
}

/** Reads the stream, and goes on after the last event whenever it ends. */
async function follow(q: string, signal: AbortSignal, setState: (state: Live["state"]) => void, arrive: () => void) {
  let after: string | null = null;
  let wait = FIRST_WAIT_MS;
  const parser = createParser({
    onEvent: (message) => {
      if (message.id) after = message.id;
      if (message.event === undefined || message.event === "message") arrive();
    },
  });
  while (!signal.aborted) {
    setState("connecting");
    try {
      const place: Record<string, string> = after === null ? { from: "now" } : { after };
      const response = await send(`api/v1/events/stream?${new URLSearchParams(q ? { q, ...place } : place)}`, { signal });
      setState("on");
      wait = FIRST_WAIT_MS;
      parser.reset();
      await read(response, (text) => parser.feed(text));
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) {
        setState("refused");
        return;
      }
      wait = Math.min(LONGEST_WAIT_MS, 2 * wait);
    }
    await new Promise((later) => setTimeout(later, wait));
  }
}

async function read(response: Response, feed: (text: string) => void): Promise<void> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) feed(part.value);
}
