/** Chromium, a page of it, and what every test does with one. */
import { AxeBuilder } from "@axe-core/playwright";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import { expect, inject } from "vitest";

const CHROMIUM = process.env.WHENCE_CHROMIUM ?? "/usr/bin/chromium";

export const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 400, height: 800 } } as const;
export type Size = keyof typeof SIZES;
export type Theme = "light" | "dark";

export async function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
}

/** A page whose errors fail the test that calls `quiet` at its end. */
export async function newPage(browser: Browser, size: Size = "desktop", theme: Theme = "light"): Promise<Page> {
  const context = await browser.newContext({
    viewport: SIZES[size],
    colorScheme: theme,
    timezoneId: "Europe/Berlin",
    reducedMotion: "reduce",
    hasTouch: size === "phone",
  });
  const page = await context.newPage();
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) errors.push(message.text());
  });
  problems.set(page, errors);
  return page;
}

const problems = new WeakMap<Page, string[]>();

/** Fails if the page reported an error: an exception, or something that its Content-Security-Policy refused. */
export function quiet(page: Page): void {
  expect(problems.get(page)).toEqual([]);
}

/** Signs in with the key, as a reader does. */
export async function signIn(page: Page, { server, key } = { server: inject("server"), key: inject("key") }): Promise<void> {
  await page.goto(`${server}/login`);
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForURL(/\/explore/);
}

/** A signed-in cookie for other contexts, so that each page need not sign in again. */
export async function share(from: BrowserContext, to: BrowserContext): Promise<void> {
  await to.addCookies(await from.cookies());
}

/** Fails with what axe-core finds by WCAG 2.2 AA. */
export async function accessible(page: Page, where: string): Promise<void> {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  const { violations } = await new AxeBuilder({ page }).withTags(tags).analyze();
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 4).map(({ target }) => target.join(" ")).join("; ")}`);
  expect(found, where).toEqual([]);
}

/** Waits until nothing is loading any more. Not for pages that are live. */
export async function settled(page: Page): Promise<void> {
  await page.waitForLoadState("networkidle");
  await page.waitForFunction(() => document.querySelector("[role=status][aria-label^=Loading]") === null);
}
