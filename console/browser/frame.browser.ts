/** Signing in and out, the palette and the shortcuts, and what webhooks and rules look like before and after one is made. */
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { accessible, launch, newPage, quiet, share, signIn } from "./pages";

let browser: Browser;
let signedIn: BrowserContext;
const server = inject("server");

beforeAll(async () => {
  browser = await launch();
  const page = await newPage(browser);
  await signIn(page);
  signedIn = page.context();
});

afterAll(async () => browser.close());

async function visit(path: string, size: "desktop" | "phone" = "desktop", theme: "light" | "dark" = "light"): Promise<Page> {
  const page = await newPage(browser, size, theme);
  await share(signedIn, page.context());
  await page.goto(`${server}${path}`);
  await page.getByRole("main").waitFor();
  await page.waitForLoadState("networkidle");
  return page;
}

async function linkCode(): Promise<string> {
  const answer = await fetch(`${server}/api/v1/session/links`, { method: "POST", headers: { "X-API-Key": inject("key") } });
  return ((await answer.json()) as { code: string }).code;
}

test("who is not signed in signs in and is back where he was", async () => {
  const page = await newPage(browser);
  await page.goto(`${server}/flows?failed=1`);
  await page.getByLabel("API key").fill("whk_wrong");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("alert").getByText("This key is not known here").waitFor();
  await page.getByLabel("API key").fill(inject("key"));
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForURL(`${server}/flows?failed=1`);
  expect(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))).not.toContain("whk_");
  quiet(page);
  await page.context().close();
});

test("the code of a link signs in once, and stays neither in the address nor in the history", async () => {
  const code = await linkCode();
  const page = await newPage(browser);
  await page.goto(`${server}/login#code=${code}`);
  await page.waitForURL(/\/explore/);
  await page.goBack();
  expect(page.url()).not.toContain(code);
  const other = await newPage(browser);
  await other.goto(`${server}/login#code=${code}`);
  await other.getByRole("alert").getByText("This link was used before").waitFor();
  expect(other.url()).not.toContain(code);
  await page.context().close();
  await other.context().close();
});

test("the tenant's menu says what the key may, and signs out", async () => {
  const page = await newPage(browser);
  await signIn(page);
  await page.goto(`${server}/actors`);
  await page.getByRole("button", { name: /^Tenant/ }).click();
  await page.getByRole("group", { name: "Signed in" }).getByText("events:write").waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/login/);
  await page.goto(`${server}/actors`);
  await page.waitForURL(/\/login\?back=/);
  await page.context().close();
});

test("an operator chooses a tenant, then another, and every tab follows", async () => {
  const page = await newPage(browser);
  // The recorded runs, whatever other tests have stored since.
  await page.goto(`${server}/login?back=${encodeURIComponent("/actors?from=2024-05-01&to=2024-06-01")}`);
  await page.getByLabel("API key").fill(inject("operatorKey"));
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("heading", { name: "Which tenant?" }).waitFor();
  await accessible(page, "choice of a tenant");
  await page.getByRole("button", { name: "default", exact: true }).click();
  await page.waitForURL(/\/actors/);
  await page.getByText("airline-api").first().waitFor();
  const tab = await page.context().newPage();
  await tab.goto(`${server}/trace/28473f38-76f9-5a41-a59b-4cfe1395e865`);
  await tab.getByRole("treegrid").waitFor();
  await page.getByRole("button", { name: /^Tenant/ }).click();
  await page.getByLabel("Find a tenant").fill("mistyped");
  await page.getByText("No tenant has this in its name.").waitFor();
  expect(await page.getByText("“mistyped”").count()).toBe(0);
  await page.getByLabel("Find a tenant").fill("newcomer");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Tenant newcomer" }).waitFor();
  expect(new URL(page.url()).pathname).toBe("/actors");
  expect(await page.getByText("airline-api").count()).toBe(0);
  await tab.getByRole("button", { name: "Tenant newcomer" }).waitFor();
  expect(new URL(tab.url()).pathname).toBe("/flows");
  await page.getByRole("button", { name: /^Tenant/ }).click();
  await page.getByRole("button", { name: "default", exact: true }).waitFor();
  await accessible(page, "menu of tenants");
  quiet(page);
  await page.context().close();
});

test("the palette finds an actor by name, goes to screens, and gives the focus back", async () => {
  const page = await visit("/flows");
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox").fill("airline-api");
  await page.getByRole("option", { name: /airline-api/ }).waitFor();
  await accessible(page, "palette");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/actors\/automation\/airline-api/);
  await page.keyboard.press("Control+k");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  quiet(page);
  await page.context().close();
});

test("letters are shortcuts, but not in fields and not when they are switched off", async () => {
  const page = await visit("/resources");
  await page.getByLabel("Find a resource").focus();
  await page.keyboard.type("g f");
  expect(page.url()).toContain("/resources");
  await page.getByLabel("Find a resource").fill("");
  await page.getByLabel("Find a resource").blur();
  await page.keyboard.press("g");
  await page.keyboard.press("a");
  await page.waitForURL(/\/actors/);
  await page.keyboard.press("Shift+?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  await accessible(page, "sheet");
  await page.getByLabel(/Shortcuts are on/).uncheck();
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("i");
  await page.waitForTimeout(300);
  expect(page.url()).toContain("/actors");
  quiet(page);
  await page.context().close();
});

test.each(["/webhooks", "/alerts"])("%s without any entry is accessible on a phone, and fits", async (path) => {
  const page = await visit(path, "phone", "dark");
  await accessible(page, path);
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  quiet(page);
  await page.context().close();
});

test("a webhook and a rule are made, and a secret is shown once", async () => {
  const page = await visit("/webhooks?new=1");
  await page.getByLabel("URL").fill("https://hooks.example.com/whence");
  await page.getByLabel("Event types").fill("Not a type");
  await page.getByRole("button", { name: "Make the webhook" }).click();
  await page.getByRole("alert").getByText("An event type is like").waitFor();
  await page.getByLabel("Event types").fill("action_run.*");
  await page.getByRole("button", { name: "Make the webhook" }).click();
  await page.getByText(/^whsec_/).waitFor();
  await page.getByRole("link", { name: /Open it/ }).click();
  await page.waitForURL(/\/webhooks\/[0-9a-f-]{36}/);
  await page.getByText(/whsec_/).waitFor({ state: "detached" });
  await page.goto(`${server}/alerts?new=1`);
  await page.getByLabel("Name").fill("Five failures");
  await page.getByRole("button", { name: "Try it on" }).click();
  await page.getByText(/would have fired/).waitFor();
  await page.getByRole("button", { name: "Make the rule" }).click();
  await page.waitForURL(/\/alerts\/[0-9a-f-]{36}/);
  await accessible(page, "alert rule");
  quiet(page);
  await page.context().close();
});

test("the policy, its preview, a hold and an erasure until it is done are shown, and a hold is released", async () => {
  const sent = async (method: string, path: string, body: object) => {
    const headers = { "X-API-Key": inject("key"), "Content-Type": "application/json" };
    expect((await fetch(`${server}/api/v1/${path}`, { method, headers, body: JSON.stringify(body) })).ok, path).toBe(true);
  };
  const id = crypto.randomUUID();
  const about = { eventType: "artifact.created", resourceType: "artifact", resourceId: id, actorType: "user", actorId: "u-17" };
  await sent("POST", "events", { ...about, id, occurredAt: new Date().toISOString(), payload: { name: "somebody" } });
  await sent("PUT", "retention", { maxAgeDays: 36_500, rules: [{ eventType: "chat_thread.*", maxAgeDays: 36_000 }] });
  await sent("POST", "holds", { q: "flow:order-8841", reason: "Case <b>2026-4</b>" });
  await sent("POST", "erasures", { eventIds: [id], reason: "Request 2026-117" });
  const page = await visit("/integrity?tab=retention");
  await page.getByRole("heading", { name: "Events are kept for 36,500 days" }).waitFor();
  await page.getByRole("button", { name: "What would go now?" }).click();
  await page.getByText("Nothing would go now.").waitFor();
  await page.getByText("1 payload erased", { exact: true }).waitFor();
  await page.getByText("done", { exact: true }).waitFor();
  await accessible(page, "retention");
  const phone = await visit("/integrity?tab=retention", "phone", "dark");
  await phone.getByText("Case <b>2026-4</b>").waitFor();
  await accessible(phone, "retention on a phone");
  expect(await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  await page.getByRole("button", { name: "Release…" }).click();
  await page.getByRole("button", { name: "Release it" }).click();
  await page.getByText("No event is held").waitFor();
  await page.goto(`${server}/e/${id}`);
  await page.getByText(/^The payload was erased .*its proof stay/).waitFor();
  quiet(page);
  await page.context().close();
  await phone.context().close();
});

test("an export is recorded with who made it and its filters as text, and reads say how to record them", async () => {
  const q = 'outcome:failed actor:"agent/<img src=x onerror=alert(1)>"';
  const answer = await fetch(`${server}/api/v1/events/export?${new URLSearchParams({ q, format: "csv" })}`, { headers: { "X-API-Key": inject("key") } });
  expect(answer.ok).toBe(true);
  await answer.text();
  const page = await visit("/integrity?tab=exports");
  const row = page.getByRole("row").filter({ hasText: "an export of events" }).first();
  await row.getByText('actor:"agent/<img src=x onerror=alert(1)>"').waitFor();
  await row.getByRole("link", { name: /demo/ }).waitFor();
  await accessible(page, "exports");
  await row.getByRole("link", { name: "Explore" }).click();
  await page.waitForURL(/\/explore/);
  expect(new URL(page.url()).searchParams.get("q")).toBe(q);
  const phone = await visit("/integrity?tab=exports", "phone", "dark");
  await phone.getByText("an export of events").first().waitFor();
  await accessible(phone, "exports on a phone");
  expect(await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  await phone.getByRole("link", { name: "Who looked" }).click();
  await phone.getByText("WHENCE_RECORD=reads").waitFor();
  await accessible(phone, "reads that are not recorded");
  quiet(page);
  quiet(phone);
  await page.context().close();
  await phone.context().close();
});

test("a log that grows between two answers is not said to have lost an event", async () => {
  const page = await newPage(browser);
  await share(signedIn, page.context());
  await page.route("**/api/v1/events?limit=1&include=*", async (route) => {
    const response = await route.fetch();
    const answer = (await response.json()) as { total: number };
    await route.fulfill({ response, json: { ...answer, total: answer.total - 1 } });
  });
  const counted = page.waitForResponse(/as_of=\d+/);
  await page.goto(`${server}/integrity`);
  await counted;
  await page.getByText("Kept now").waitFor();
  expect(await page.getByText("No longer kept").count()).toBe(0);
  quiet(page);
  await page.context().close();
});
