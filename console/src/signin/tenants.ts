/** Which tenants a menu shows for what was typed, and where one is in another tenant. Pure. */
import { counted, grouped } from "../common/times";
import type { Tenants } from "../session/session";

const SHOWN_MAX = 100;
const TENANT = /^[A-Za-z0-9._-]{1,64}$/;

export interface Offer {
  names: string[];
  /** How many more names fit, which are not shown. */
  hidden: number;
  /** What was typed, if it may be the name of a tenant that is not listed, because there are too many. */
  other: string | null;
}

/** The tenants whose names contain the text, those that begin with it first. */
export function offerOf({ names, anyTenant, more }: Tenants, typed: string): Offer {
  const text = typed.trim();
  const lower = text.toLowerCase();
  const fitting = names.filter((name) => name.toLowerCase().includes(lower));
  const begins = (name: string) => (name.toLowerCase().startsWith(lower) ? 0 : 1);
  const shown = [...fitting].sort((a, b) => begins(a) - begins(b)).slice(0, SHOWN_MAX);
  const other = anyTenant && more && TENANT.test(text) && !names.includes(text) ? text : null;
  return { names: shown, hidden: fitting.length - shown.length, other };
}

/** What a list does not show, in sentences; empty when it shows all. Where not all tenants are listed, it speaks of those listed only. */
export function restWords({ names, more }: Tenants, offer: Offer): string {
  const words: string[] = [];
  if (offer.names.length === 0) words.push(more ? `None of the ${counted(names.length, "tenant")} listed has this in its name.` : "No tenant has this in its name.");
  if (offer.hidden > 0) words.push(offer.hidden === 1 ? "1 more fits." : `${counted(offer.hidden, "more tenant")} fit.`);
  if (more) words.push(`There are more than these ${grouped(names.length)}: type the whole name of another.`);
  return words.join(" ");
}

/** The list that an address belongs to, which every tenant has. */
export function listOf(path: string): string {
  const [place = ""] = path.split("/");
  const lists: Record<string, string> = { e: "explore", trace: "flows", r: "resources" };
  const known = ["explore", "flows", "map", "resources", "actors", "integrity", "webhooks", "alerts", "settings"];
  return lists[place] ?? (known.includes(place) ? place : "explore");
}
