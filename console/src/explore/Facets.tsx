import { useState, type MouseEvent } from "react";
import { Icon } from "../common/icons";
import { ActorGlyph, asOutcome, OutcomeMark } from "../common/marks";
import { grouped } from "../common/times";
import { PAYLOAD, type Facet, type FacetsAnswer, type FacetValue } from "./answers";
import { asks, withTerm, withoutTerm } from "./terms";
import { visible } from "../common/visible";

const OUTCOME_WORDS: Record<string, string> = { failure: "failed", success: "succeeded", none: "no outcome" };

interface Section {
  facet: string;
  title: string;
  /** The name of its terms in a query. */
  name: string;
}

const SECTIONS: readonly Section[] = [
  { facet: "eventType", title: "Event type", name: "type" },
  { facet: "actor", title: "Actor", name: "actor" },
  { facet: "outcome", title: "Outcome", name: "outcome" },
  { facet: "resourceType", title: "Resource type", name: "resource" },
];

interface Props {
  answer: FacetsAnswer | undefined;
  /** The values of payloads, by their paths. */
  payload: readonly (Facet & { path: string })[] | undefined;
  /** The paths whose values could not be counted in time. */
  uncounted: readonly string[];
  q: string;
  onChange: (q: string) => void;
}

/** Every value with its count: a click asks for it, Alt and a click exclude it, and again drop that. */
export function Facets({ answer, payload, uncounted, q, onChange }: Props) {
  const ofPayload = new Map(payload?.map((facet) => [PAYLOAD + facet.path, facet]));
  const sections = [...SECTIONS, ...[...ofPayload.keys()].map((facet) => ({ facet, title: facet, name: facet }))];
  return (
    <>
      {sections.map((section) => {
        const found = answer?.facets[section.facet] ?? ofPayload.get(section.facet);
        if (!found || (found.values.length === 0 && section.facet !== "eventType")) return null;
        const total = found.values.reduce((sum, value) => sum + value.count, 0);
        return (
          <section key={section.facet} aria-label={section.title}>
            <h3>
              {section.title}
              <span className="t3 xs">
                {section.facet === "eventType" && found.more === 0 ? `of ${grouped(total)}` : found.more > 0 ? `${grouped(found.more)} more` : ""}
              </span>
            </h3>
            <ul>
              {found.values.map((value) => (
                <Value key={textOf(value)} value={value} section={section} q={q} onChange={onChange} largest={found.values[0]?.count ?? 1} />
              ))}
            </ul>
          </section>
        );
      })}
      {uncounted.map((path) => (
        <section key={path} aria-label={PAYLOAD + path}>
          <h3>{PAYLOAD + path}</h3>
          <p className="t3 xs">Not counted: it took too long. A shorter period or another filter may help.</p>
        </section>
      ))}
    </>
  );
}

interface ValueProps {
  value: FacetValue;
  section: Section;
  q: string;
  onChange: (q: string) => void;
  /** The largest count of the section, which the bars are drawn against. */
  largest: number;
  depth?: number;
}

function Value({ value, section, q, onChange, largest, depth = 0 }: ValueProps) {
  const text = textOf(value);
  const words = wordsOf(section, text);
  const isAsked = words.some((word) => asks(q, section.name, word));
  const isExcluded = words.some((word) => asks(q, section.name, word, true));
  const children = value.children ?? [];
  const isInside = children.some((child) => asks(q, section.name, textOf(child)) || asks(q, section.name, textOf(child), true));
  const [opened, setOpened] = useState<boolean | null>(null);
  const isOpen = opened ?? (isAsked || isInside);
  const label = labelOf(section, text, depth);
  const toggle = (exclude: boolean) => {
    const isSet = exclude ? isExcluded : isAsked || isExcluded;
    onChange(isSet ? words.reduce((left, word) => withoutTerm(left, section.name, word), q) : withTerm(q, section.name, text, exclude));
  };
  return (
    <li>
      <div className={`fa${depth > 0 ? " l2" : ""}${isAsked ? " on" : ""}${isExcluded ? " off" : ""}`} data-depth={depth}>
        {children.length > 0 ? (
          <button className="t3 fold-button" aria-expanded={isOpen} aria-label={`Types of ${label}`} onClick={() => setOpened(!isOpen)}>
            <Icon name={isOpen ? "down" : "right"} small />
          </button>
        ) : (
          <span className="t3">{isExcluded && <Icon name="minus" small />}</span>
        )}
        <button
          className="fa-value"
          aria-pressed={isAsked}
          title={`${text}: click to ask for it, Alt-click to exclude it`}
          onClick={(event: MouseEvent) => toggle(event.altKey)}
        >
          <span className="cut">
            {value.actorType !== undefined && <ActorGlyph type={value.actorType} />}
            {section.facet === "outcome" && <OutcomeMark outcome={asOutcome(value.value)} size={12} />}
            <bdi>{visible(label)}</bdi>
          </span>
          <span className="n">{grouped(value.count)}</span>
        </button>
        <button className="fa-not" aria-pressed={isExcluded} aria-label={`Exclude ${label}`} title="Exclude" onClick={() => toggle(true)}>
          <Icon name="minus" small />
        </button>
        <Track count={value.count} failures={value.failures} largest={largest} isDim={isExcluded} />
      </div>
      {isOpen && children.length > 0 && (
        <ul>
          {children.map((child) => (
            <Value key={textOf(child)} value={child} section={section} q={q} onChange={onChange} largest={largest} depth={depth + 1} />
          ))}
        </ul>
      )}
    </li>
  );
}

/** The count as a line, and the failures in it. */
function Track({ count, failures, largest, isDim }: { count: number; failures: number; largest: number; isDim: boolean }) {
  const percent = (value: number) => `${Math.max(value > 0 ? 3 : 0, (100 * value) / Math.max(1, largest))}%`;
  if (isDim) return null;
  return (
    <span className="trk" aria-hidden="true">
      <i style={{ width: percent(count) }} />
      {failures > 0 && <u style={{ width: percent(failures) }} />}
    </span>
  );
}

function textOf(value: FacetValue): string {
  return value.actorId === undefined ? (value.value ?? "") : `${value.actorType}/${value.actorId}`;
}

/** The words that a query may use for a value; the first is the one that is written. */
function wordsOf(section: Section, text: string): string[] {
  if (section.facet === "outcome") return [text, OUTCOME_WORDS[text] ?? text];
  if (section.facet === "actor") return [text, text.slice(text.indexOf("/") + 1)];
  return [text];
}

function labelOf(section: Section, text: string, depth: number): string {
  if (section.facet === "outcome") return OUTCOME_WORDS[text] ?? text;
  if (section.facet === "actor") return text.slice(text.indexOf("/") + 1);
  if (section.facet !== "eventType") return text;
  const segments = text.replace(/\.\*$/, "").split(".");
  return segments.slice(depth).join(".") || text;
}
