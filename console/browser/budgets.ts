/**
 * Measures what the console promises about time, memory and size, in Chromium against a real server with a million
 * events: `npm run budgets`. It prints a table, and ends with 1 when a promise is missed. A busy machine misses some, so
 * the load is printed too.
 *
 * A run takes a quarter of an hour, of which the live tail takes ten minutes. WHENCE_BUDGETS_EVENTS and
 * WHENCE_BUDGETS_LIVE_S make it shorter. WHENCE_BUDGETS_STORE names a folder whose store is kept for the next run.
 */
import { loadavg } from "node:os";
import { gzipSync } from "node:zlib";
import { type Browser, type BrowserContext, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventOf, idOf, isStored, linkOf, post, started, store, type Filled } from "./filled";
import { launch, SIZES } from "./pages";

const EVENTS = Number(process.env.WHENCE_BUDGETS_EVENTS ?? 1_000_000);
const LIVE_S = Number(process.env.WHENCE_BUDGETS_LIVE_S ?? 600);
const LINKS = 10_000;
const RUNS = 3;
const MINUTE_MS = 60_000;

interface Measured {
  what: string;
  found: number;
  limit: number;
  unit: string;
}
const table: Measured[] = [];

/** Notes a measure for the table, and fails the test when it is over its limit. */
function judge(what: string, found: number, limit: number, unit: string): void {
  table.push({ what, found, limit, unit });
  expect.soft(found, what).toBeLessThanOrEqual(limit);
}

let filled: Filled;
let browser: Browser;
let cookies: Awaited<ReturnType<BrowserContext["cookies"]>>;

beforeAll(async () => {
  filled = await started(process.env.WHENCE_BUDGETS_STORE);
  if (!(await isStored(filled, idOf("c", LINKS - 1)))) {
    await store(filled, EVENTS, (number) => eventOf(number, EVENTS));
    await store(filled, LINKS, (number) => linkOf(number, LINKS));
  }
  browser = await launch();
  const page = await browser.newPage();
  await page.goto(`${filled.server}/login`);
  await page.getByLabel("API key").fill(filled.key);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForURL(/\/explore/);
  cookies = await page.context().cookies();
  await page.close();
}, 30 * MINUTE_MS);

afterAll(async () => {
  const load = loadavg().map((each) => each.toFixed(1));
  const lines = table.map(({ what, found, limit, unit }) => {
    const mark = found <= limit ? "ok  " : "MISS";
    return `${mark}  ${what.padEnd(60)}${found.toFixed(found < 10 ? 2 : 0).padStart(8)} of ${limit} ${unit}`;
  });
  process.stdout.write(`\n${lines.join("\n")}\n      load of the machine over 1, 5 and 15 minutes: ${load.join(", ")}\n\n`);
  await browser?.close();
  await filled?.stop();
});

/** A page of a browser that has seen nothing of the server but the sign-in. */
async function coldPage(): Promise<Page> {
  const context = await browser.newContext({ viewport: SIZES.desktop });
  await context.addCookies(cookies);
  return context.newPage();
}

/** Milliseconds from the beginning of the navigation until each of these is in the page, and a frame has been drawn. */
async function timeTo(page: Page, path: string, selectors: readonly string[]): Promise<number> {
  await page.goto(filled.server + path, { waitUntil: "commit" });
  return page.evaluate(
    (wanted) =>
      new Promise<number>((found) => {
        const look = () => {
          if (wanted.every((selector) => document.querySelector(selector) !== null))
            requestAnimationFrame(() => setTimeout(() => found(performance.now())));
          else setTimeout(look, 4);
        };
        look();
      }),
    [...selectors],
  );
}

async function median(measure: () => Promise<number>): Promise<number> {
  const found: number[] = [];
  for (let run = 0; run < RUNS; run++) found.push(await measure());
  return found.sort((a, b) => a - b)[Math.floor(RUNS / 2)] as number;
}

async function once<Result>(work: (page: Page) => Promise<Result>): Promise<Result> {
  const page = await coldPage();
  try {
    return await work(page);
  } finally {
    await page.context().close();
  }
}

const ROW = ".row .said";
const MANY = EVENTS.toLocaleString("en-US");

test("the first screen", { timeout: 2 * MINUTE_MS }, async () => {
  const paint = await median(() => once((page) => timeTo(page, "/explore", [".histo", "[role=grid]"])));
  judge("first meaningful paint, cold cache", paint, 1_000, "ms");
  const ready = await median(() => once((page) => timeTo(page, "/explore", [ROW, "[data-bar]", ".fa-value", ".row .badge"])));
  judge(`explorer of ${MANY} events, rows, bars, facets, causes`, ready, 1_000, "ms");
});

test("a flow of 10,000 events", { timeout: 5 * MINUTE_MS }, async () => {
  const path = `/trace/${idOf("c", LINKS / 2)}`;
  const open = await median(() => once((page) => timeTo(page, path, ["[role=treegrid] [role=row]", ".lead"])));
  judge("trace of 10,000 events opens", open, 1_000, "ms");
  const slowest = await once(async (page) => {
    await timeTo(page, path, ["[role=treegrid] [role=row]"]);
    await page.getByRole("button", { name: /Unfold all/ }).click();
    return longestFrame(page, "[role=treegrid]");
  });
  judge("longest frame while it scrolls, unfolded", slowest, 50, "ms");
});

/** The longest time between two frames while the element is scrolled to its end by the wheel's steps. */
async function longestFrame(page: Page, selector: string): Promise<number> {
  await page.waitForTimeout(500);
  return page.evaluate(
    (wanted) =>
      new Promise<number>((found) => {
        const element = document.querySelector(wanted) as HTMLElement;
        let longest = 0;
        let before = performance.now();
        let frames = 0;
        const step = (now: number) => {
          if (frames > 1) longest = Math.max(longest, now - before);
          before = now;
          element.scrollTop += 240;
          if (++frames < 240) requestAnimationFrame(step);
          else found(longest);
        };
        element.scrollTop = 0;
        requestAnimationFrame(step);
      }),
    selector,
  );
}

test("the sizes of what is loaded", { timeout: 2 * MINUTE_MS }, async () => {
  const first = await once((page) => loaded(page, "/explore", ROW));
  const trace = await once((page) => loaded(page, `/trace/${idOf("c", 5)}`, "[role=treegrid] [role=row]"));
  const size = (files: Map<string, number>) => [...files.values()].reduce((sum, bytes) => sum + bytes, 0) / 1_000;
  judge("first load, gzip", size(first), 260, "kB");
  judge("trace, beyond it", size(new Map([...trace].filter(([name]) => !first.has(name)))), 60, "kB");
});

/** The scripts, styles and the page that an address loads, with their sizes under gzip. */
async function loaded(page: Page, path: string, selector: string): Promise<Map<string, number>> {
  const files = new Map<string, number>();
  const reading: Promise<void>[] = [];
  page.on("response", (response) => {
    if (!["document", "script", "stylesheet"].includes(response.request().resourceType())) return;
    const { pathname } = new URL(response.url());
    const name = pathname.includes("/assets/") ? pathname : "the page";
    reading.push(response.body().then((body) => void files.set(name, gzipSync(body).length)));
  });
  await timeTo(page, path, [selector]);
  await page.waitForLoadState("networkidle");
  await Promise.all(reading);
  return files;
}

test("the live tail", { timeout: (LIVE_S + 180) * 1_000 }, async () => {
  const grown = await once(async (page) => {
    await timeTo(page, "/explore?live=1", [ROW]);
    await page.getByTitle("Following; click to stop").waitFor();
    await tail(Math.min(60, LIVE_S)); // until what is kept for a while has been filled once
    const before = await heap(page);
    await tail(LIVE_S);
    return (await heap(page)) - before;
  });
  judge(`heap after ${LIVE_S} s of live tail at 50 events/s, grown by`, grown / 1_000_000, 1, "MB");
});

let sent = Date.now(); // another number than in an earlier run on the same store

/** Sends 50 events a second. */
async function tail(seconds: number): Promise<void> {
  const until = performance.now() + seconds * 1_000;
  while (performance.now() < until) {
    const next = performance.now() + 100;
    const now = new Date().toISOString();
    const events = Array.from({ length: 5 }, () => ({ ...eventOf(sent, EVENTS), id: idOf("f", sent++), occurredAt: now, causationId: null }));
    await post(filled.server, filled.key, events);
    await new Promise((later) => setTimeout(later, Math.max(0, next - performance.now())));
  }
}

/** Bytes of the page's heap that are in use once the garbage is collected. */
async function heap(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.enable");
  for (let times = 0; times < 3; times++) await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return usedSize;
}
