/** Proofs in the browser: the badge of an event, and the page of one file, from the disk and from the server. */
import { mkdirSync, readFileSync, writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { accessible, launch, newPage, quiet, signIn } from "./pages";

const VERIFIER = resolve(import.meta.dirname, "../../verifier");
const vectors = (name: string) => JSON.parse(readFileSync(join(VERIFIER, "vectors", name), "utf8"));
const folder = mkdtempSync(join(tmpdir(), "whence-verifier-"));

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
  rmSync(folder, { recursive: true });
});

const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

test("an event is verified by the key that this browser saw first, until the log has another one", async () => {
  const page = await newPage(browser);
  await signIn(page);
  const side = page.getByRole("region", { name: "Proof, context and resource" });
  await page.goto(`${inject("server")}/e/16ea97ab-1bf6-568b-a87a-32d3903c035b`);
  await side.getByText("Verified", { exact: true }).waitFor();
  await side.getByText(/by the key that it first saw/).waitFor();
  await page.evaluate(() => {
    const pins = JSON.parse(String(localStorage.getItem("whence.log-keys")));
    for (const pin of Object.values(pins) as { key: string }[]) pin.key = `x${pin.key}`;
    localStorage.setItem("whence.log-keys", JSON.stringify(pins));
  });
  await page.reload();
  await side.getByText("The log's key changed").waitFor();
  await accessible(page, "an event whose log has another key");
  await side.getByRole("button", { name: "Trust the new key" }).click();
  await side.getByText("Verified", { exact: true }).waitFor();
  // What a server answers is compared with what was proven: another actor is found.
  await page.route(/\/api\/v1\/events\/16ea97ab[^/]*$/, async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: (await answer.text()).replace('"actorId":"airline-api"', '"actorId":"somebody-else"') });
  });
  await page.reload();
  await side.getByText("Does not verify", { exact: true }).waitFor();
  await side.getByText(/actorId differs/).waitFor();
  quiet(page);
  await page.context().close();
});

test("the whole log is verified in the browser, and a server that changes an event on its way is found out", async () => {
  const page = await newPage(browser);
  await signIn(page);
  await page.goto(`${inject("server")}/integrity`);
  await page.getByRole("button", { name: "Verify now" }).click();
  await page.getByRole("heading", { name: "Every event is as it was written" }).waitFor();
  await accessible(page, "a log that holds");
  await page.route(/\/log\/entries/, async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: (await answer.text()).replace('"actorId":"gpt-4o"', '"actorId":"gpt-4p"') });
  });
  await page.getByRole("button", { name: "Verify now" }).click();
  await page.getByRole("heading", { name: /^Position \d+ is not as it was written/ }).waitFor();
  await accessible(page, "a log that does not hold");
  quiet(page);
  await page.context().close();
});

const proofNamed = (name: string) => (vectors("proofs.json").proofs as { name: string; proof: string }[]).find((each) => each.name === name)?.proof ?? "";

/** What both copies of the page show of a proof that holds, and of one that does not. */
async function checks(page: Page): Promise<void> {
  const { key } = vectors("proofs.json");
  await page.getByLabel("The key of the log").fill(key);
  await page.getByLabel("The proof", { exact: true }).setInputFiles(file("right", proofNamed("event 1 of 2")));
  await page.getByRole("heading", { name: "Proven", exact: true }).waitFor();
  expect(await page.getByRole("status").innerText()).toContain("position 2 of the log log.example/acme/1");
  await accessible(page, "a proven event");
  await page.getByLabel("The proof", { exact: true }).setInputFiles(file("wrong", proofNamed("another payload")));
  await page.getByRole("heading", { name: "Not proven" }).waitFor();
  expect(await page.getByRole("listitem").count()).toBe(4);
  const dropped = await page.evaluateHandle((text) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([text], "dropped"));
    return transfer;
  }, proofNamed("event 1 of 2"));
  await page.dispatchEvent("h1", "drop", { dataTransfer: dropped });
  await page.getByRole("heading", { name: "Proven", exact: true }).waitFor();
}

test("the page works from the disk, by keyboard, and narrow and dark", async () => {
  const page = await newPage(browser, "phone", "dark");
  await page.goto(pathToFileURL(join(VERIFIER, "whence-verify.html")).href);
  await page.getByLabel("The key of the log").focus();
  for (let tab = 0; tab < 3; tab++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText("Give the key of the log.").waitFor();
  await checks(page);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(400);
  await page.getByLabel("Two checkpoints").check();
  const { pairs } = vectors("consistency.json");
  const pair = (pairs as { name: string; old: string; new: string; proof: string }[]).find(({ name }) => name === "255 and 256");
  await page.getByLabel("The earlier checkpoint").setInputFiles(file("older", pair?.old ?? ""));
  await page.getByLabel("The later checkpoint").setInputFiles(file("newer", pair?.new ?? ""));
  await page.getByLabel("The consistency proof between them").setInputFiles(file("consistency", pair?.proof ?? ""));
  await page.getByText("begins with the one of 255 events").waitFor();
  await page.getByLabel("The later checkpoint").setInputFiles(file("other", pair?.old ?? ""));
  await page.getByRole("heading", { name: "Not proven" }).waitFor();
  file("older", "changed after it was chosen");
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByRole("heading", { name: "Not checked" }).waitFor();
  quiet(page);
  await page.context().close();
});

test("the folder of an export is checked, and its dropped files are", async () => {
  const page = await newPage(browser);
  await page.goto(pathToFileURL(join(VERIFIER, "whence-verify.html")).href);
  const { key, exports } = vectors("exports.json") as { key: string; exports: { name: string; files: Record<string, string> }[] };
  const contents = (name: string) =>
    Object.entries(exports.find((each) => each.name === name)?.files ?? {}).map(([file, text]) => ({ file, data: [...Buffer.from(text, file === "hashes" ? "hex" : "utf8")] }));
  const chosen = mkdtempSync(join(folder, "export-"));
  for (const { file, data } of contents("all failures since a time")) writeFileSync(join(chosen, file), Uint8Array.from(data));
  await page.getByLabel("The key of the log").fill(key);
  await page.getByLabel("An export with proof").check();
  await page.getByLabel("The folder of the export").setInputFiles(chosen);
  await page.getByRole("heading", { name: "Proven", exact: true }).waitFor();
  expect(await page.getByRole("status").innerText()).toContain("No other event matches, of those at the positions 9 to 16.");
  await accessible(page, "a proven export");
  const dropped = await page.evaluateHandle((files) => {
    const transfer = new DataTransfer();
    for (const { file, data } of files) transfer.items.add(new File([Uint8Array.from(data)], file));
    return transfer;
  }, contents("two are swapped"));
  await page.dispatchEvent("h1", "drop", { dataTransfer: dropped });
  await page.getByRole("heading", { name: "Not proven" }).waitFor();
  expect(await page.getByRole("status").innerText()).toContain("Position 6 is missing");
  quiet(page);
  await page.context().close();
});

test("the page demands the cosignatures of the witnesses that are given, and follows a key", async () => {
  const page = await newPage(browser, "phone");
  await page.goto(pathToFileURL(join(VERIFIER, "whence-verify.html")).href);
  const { key, rotations } = vectors("rotations.json");
  await page.getByLabel("The key of the log").fill(key);
  await page.getByText("Witnesses, and keys that were rotated").click();
  await page.getByLabel("The keys of witnesses").fill(`${vectors("notes.json").notes[0].witness}\n`);
  await page.getByLabel("The proof", { exact: true }).setInputFiles(file("cosigned", proofNamed("a witness that nobody asked about")));
  await page.getByText("It is cosigned by witness.example/w1 at 2026-01-02T03:04:05Z.").waitFor();
  await accessible(page, "a cosigned proof");
  await page.getByLabel("The proof", { exact: true }).setInputFiles(file("plain", proofNamed("event 1 of 2")));
  await page.getByText("not cosigned by witness.example/w1").first().waitFor();
  await page.getByLabel("The keys of witnesses").fill("");
  await page.getByLabel("Announcements of the next keys").setInputFiles(file("rotation", rotations[0].proof));
  await page.getByRole("heading", { name: "Proven", exact: true }).waitFor();
  await page.getByLabel("Announcements of the next keys").setInputFiles(file("compromised", rotations[1].proof));
  await page.getByText("does not announce the rotation").first().waitFor();
  quiet(page);
  await page.context().close();
});

test("two checkpoints and exports need their cosignatures too, by ML-DSA-44 as well, and follow keys in any order", async () => {
  const page = await newPage(browser, "phone");
  await page.goto(pathToFileURL(join(VERIFIER, "whence-verify.html")).href);
  const [mldsa, { key, chain }, { exports }] = [vectors("mldsa44.json"), vectors("rotations.json"), vectors("exports.json")];
  const [w1, [byMlDsa]] = [vectors("notes.json").notes[0], mldsa.notes];
  await page.getByLabel("The key of the log").fill(key);
  await page.getByText("Witnesses, and keys that were rotated").click();
  await page.getByLabel("Two checkpoints").check();
  for (const { name, note, witness } of [w1, byMlDsa]) {
    await page.getByLabel("The keys of witnesses").fill(witness);
    const chosen = file(`cosigned, ${name}`, note);
    for (const label of ["The earlier checkpoint", "The later checkpoint"]) await page.getByLabel(label).setInputFiles(chosen);
    await page.getByRole("button", { name: "Check", exact: true }).click();
    await page.getByText(/It is cosigned by witness.example\/w\d at 2026-01-02T03:04:05Z\./).waitFor();
  }
  await page.getByLabel("The keys of witnesses").fill(w1.witness);
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByText("not cosigned by witness.example/w1").first().waitFor();

  const written = (folderName: string, files: Record<string, string>) => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folderName, name), Buffer.from(text, name === "hashes" ? "hex" : "utf8"));
    return folderName;
  };
  const filesOf = (named: string) => (exports as { name: string; files: Record<string, string> }[]).find(({ name }) => name === named)?.files ?? {};
  await page.getByLabel("An export with proof").check();
  const cosigned = written(mkdtempSync(join(folder, "cosigned-")), filesOf("cosigned by a witness"));
  await page.getByLabel("The folder of the export").setInputFiles(cosigned);
  await page.getByText(/It is cosigned by witness.example\/w1/).waitFor();
  await accessible(page, "a cosigned export");
  await page.getByLabel("The folder of the export").setInputFiles(written(mkdtempSync(join(folder, "plain-")), filesOf("failures")));
  await page.getByText("not cosigned by witness.example/w1").first().waitFor();
  await page.getByLabel("The keys of witnesses").fill("");
  // The later announcement is listed first.
  await page.getByLabel("Announcements of the next keys").setInputFiles([file("a", chain.proofs[1]), file("b", chain.proofs[0])]);
  await page.getByRole("heading", { name: "Proven", exact: true }).waitFor();
  await page.getByLabel("Announcements of the next keys").setInputFiles([file("a", chain.proofs[1])]);
  await page.getByRole("heading", { name: "Not proven" }).waitFor();

  // The export of a whole tenant has the events in a folder.
  await page.getByLabel("Announcements of the next keys").setInputFiles([]);
  const tenant = mkdtempSync(join(folder, "tenant-"));
  mkdirSync(join(tenant, "events"));
  written(join(tenant, "events"), filesOf("failures"));
  writeFileSync(join(tenant, "tenant.json"), "{}");
  await page.getByLabel("The folder of the export").setInputFiles(tenant);
  await page.getByText("Nobody signed them.").waitFor();
  quiet(page);
  await page.context().close();
});

test("the server's copy does the same without crypto.subtle, and markup in an event is text", async () => {
  const page = await newPage(browser);
  await page.addInitScript(() => Object.defineProperty(crypto, "subtle", { value: undefined }));
  await page.goto(`${inject("server")}/whence-verify.html`);
  await checks(page);
  await page.getByLabel("The proof", { exact: true }).setInputFiles(file("markup", proofNamed("event 6 of 255")));
  await page.getByRole("heading", { name: "Proven", exact: true }).waitFor();
  expect(await page.getByRole("status").locator("img, script, a").count()).toBe(0);
  expect(await page.getByRole("status").innerText()).toContain("<img src=x onerror=alert(1)>");
  quiet(page);
  await page.context().close();
});
